"""Figures that the paper prints, to stand beside ours: other data, other mismatch, another machine."""

# Table 1: mean and standard deviation of PSNR in dB, and of SSIM, by task and method.
TABLE1 = {
    "deblur": {
        "direct": ((24.002, 0.101), (0.7689, 0.0007)),
        "robust-lu": ((34.380, 0.437), (0.9429, 0.0014)),
        "adaptive-lu": ((36.621, 0.330), (0.9731, 0.0010)),
        "adaptive-deq": ((37.809, 0.532), (0.9774, 0.0041)),
    },
    "deconv": {
        "direct": ((22.816, 0.112), (0.7421, 0.0041)),
        "robust-lu": ((24.785, 0.836), (0.8407, 0.0214)),
        "adaptive-lu": ((27.271, 0.787), (0.8960, 0.0157)),
        "adaptive-deq": ((28.236, 0.321), (0.9082, 0.0201)),
    },
    "defog": {
        "direct": ((21.802, 1.706), (0.8738, 0.0347)),
        "robust-lu": ((29.645, 1.939), (0.9563, 0.0164)),
        "adaptive-lu": ((31.112, 1.854), (0.9661, 0.0133)),
        "adaptive-deq": ((32.149, 2.069), (0.9723, 0.0124)),
    },
}

# Table 2: the largest change of PSNR in dB that another start of theta made, by task and method.
TABLE2 = {
    "deblur": {"adaptive-lu": 0.017, "adaptive-deq": 0.001},
    "deconv": {"adaptive-lu": 0.003, "adaptive-deq": 0.003},
    "defog": {"adaptive-lu": 0.166, "adaptive-deq": 0.002},
}

# Table 3: milliseconds a batch (32, 32 and 8 images) on an RTX 3080, mean and standard deviation.
TABLE3 = {
    "deblur": {"robust-lu": (80.26, 0.52), "adaptive-lu": (253.06, 0.82), "adaptive-deq": (2219.53, 15.89)},
    "deconv": {"robust-lu": (81.14, 0.67), "adaptive-lu": (256.94, 0.85), "adaptive-deq": (2249.60, 28.37)},
    "defog": {"robust-lu": (112.91, 1.03), "adaptive-lu": (370.93, 1.14), "adaptive-deq": (2433.66, 15.79)},
}
