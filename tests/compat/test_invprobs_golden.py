"""The authors' names reproduce every array of every golden file, by the engine and by plain torch."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aafast.compat import invprobs
from aafast.compat.invprobs import deq, steps
from aafast.compat.invprobs import network_hqs as nets
from aafast.compat.invprobs import network_lu as lu_nets
from aafast.reference import golden
from aafast.reference.build import ETA, WEIGHTS

TOLERANCE = 1e-9
CALLS = 8
LAYERS = {"deblur": 5, "deconv": 9, "defog": 7}
MISMATCH = {
    "adaptive_lu": {"deblur": nets.netA_deblur, "deconv": nets.netA_kernel, "defog": nets.netA_foggy},
    "adaptive_deq": {"deblur": nets.netA_deblur_sn, "deconv": nets.netA_kernel_sn, "defog": nets.netA_fogging_sn},
}
PROX = {
    "adaptive_lu": {"deblur": nets.proxNet_deblur, "deconv": nets.proxNet_deconv, "defog": nets.proxNet_fog},
    "adaptive_deq": {"deblur": nets.proxNet_deblur_sn, "deconv": nets.proxNet_deconv_sn, "defog": nets.proxNet_fog_sn},
}
BLOCK = {
    "deblur": deq.deblur_deq_kth_iter, "deconv": deq.deconv_deq_kth_iter, "defog": deq.defog_deq_kth_iter
}
LU = {"deblur": lu_nets.LU_deblur, "deconv": lu_nets.LU_deconv, "defog": lu_nets.LU_deconv_defog}


@pytest.fixture(params=["auto", "eager"])
def backend(request, monkeypatch):
    if request.param == "auto":
        monkeypatch.delenv("AAFAST_BACKEND", raising=False)
    else:
        monkeypatch.setenv("AAFAST_BACKEND", request.param)
    return request.param


def arguments(task, method):
    gamma, lamb = WEIGHTS.get(method, {}).get(task, (0.0, 0.0))
    return SimpleNamespace(eta=ETA[method][task], gamma=gamma, lamb=lamb, lr_Z=1e-4, kernel_size=3, padding=1)


def networks(task, method, arrays):
    """netA and netR in float64 with a file's weights, built as the scripts build them."""
    args, layers = arguments(task, method), LAYERS[task]
    netA = MISMATCH[method][task](*((args,) if task == "defog" else (args, 3)))
    netR = PROX[method][task](*((layers, args) if task == "defog" else (args, layers)))
    for network, prefix in ((netA, "netA."), (netR, "netR.")):
        network.double().load_state_dict(golden.under(prefix, arrays))
    return netA, netR


def nominal(task, arrays):
    if task != "deblur":
        return arrays["A0"]
    blur = invprobs.GaussianBlur(sigma=7, kernel_size=7, n_channels=3).double()
    assert (blur.gaussian_kernel - arrays["A0"]).abs().max() < 1e-7 * arrays["A0"].max(), "their kernel is in float32"
    blur.gaussian_kernel.copy_(arrays["A0"])
    return blur


def held(pairs):
    wrong = {name: error for name, error in golden.errors(pairs).items() if not error <= TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("index", range(3))
def test_anderson(index, shared):
    arrays = golden.load(shared / "golden" / f"anderson_{index}.npz")
    M, c, start = arrays["M"], arrays["c"], torch.zeros_like(arrays["x"])
    settings = {name: arrays[name].item() for name in ("m", "lam", "beta", "max_iter", "tol")}

    def affine(v):
        return (torch.einsum("bij,bj->bi", M, v.flatten(1)) + c).view_as(v)

    x, residuals = deq.anderson(affine, start, **settings)
    computed = torch.tensor(residuals, dtype=torch.float64)
    held({"x": (x, arrays["x"]), "residuals": (computed, arrays["residuals"])})
    x, again, points = deq.anderson_mse(affine, start, **settings)
    assert again == residuals and torch.equal(points[-1], x) and len(points) == len(residuals)


@pytest.mark.parametrize("task", LAYERS)
def test_robust_lu(task, shared):
    arrays = golden.load(shared / "golden" / f"{task}_robust_lu.npz")
    block = LU[task](arguments(task, "robust_lu"), nlayers=LAYERS[task]).double()
    block.load_state_dict(golden.under("net.", arrays))
    A0, y = nominal(task, arrays), arrays["y"]
    xs = [y]
    with torch.no_grad():
        for _ in arrays["xs"]:
            xs.append(block(xs[-1], y) if task == "defog" else block(xs[-1], y, A0))
    held({"xs": (torch.stack(xs[1:]), arrays["xs"])})


@pytest.mark.parametrize("task", LAYERS)
def test_adaptive_lu(task, shared):
    arrays = golden.load(shared / "golden" / f"{task}_adaptive_lu.npz")
    args, criteria = arguments(task, "adaptive_lu"), nn.MSELoss()
    netA, netR = networks(task, "adaptive_lu", arrays)
    optA = torch.optim.AdamW(netA.parameters(), lr=1e-4)
    A0, y = nominal(task, arrays), arrays["y"]
    x = z = y
    found = {name: [] for name in ("zs", "xs", "loss_z", "loss_theta")}
    for _ in arrays["xs"]:
        netA.eval()
        z = z.detach().clone().requires_grad_()
        optZ = torch.optim.AdamW([z], lr=1e-4)
        y0, yk = netA(z, A0)
        loss = criteria(y, yk) + args.gamma * criteria(yk, y0) + args.lamb * criteria(x.detach(), z)
        loss.backward()
        optZ.step()
        found["loss_z"].append(loss.detach())
        z = z.detach()
        netA.train()
        optA.zero_grad()
        y0, yk = netA(z, A0)
        loss = criteria(y, yk) + args.gamma * criteria(yk, y0)
        loss.backward()
        optA.step()
        found["loss_theta"].append(loss.detach())
        netA.eval()
        with torch.no_grad():
            x = netR(x, z, y)
        found["zs"].append(z)
        found["xs"].append(x)
    pairs = {name: (torch.stack(values), arrays[name]) for name, values in found.items()}
    held(pairs | golden.state(netA, arrays))


@pytest.mark.parametrize("task", LAYERS)
def test_adaptive_deq(task, shared, backend):
    arrays = golden.load(shared / "golden" / f"{task}_adaptive_deq.npz")
    netA, netR = networks(task, "adaptive_deq", arrays)
    optA, optR = (torch.optim.AdamW(network.parameters(), lr=1e-4) for network in (netA, netR))
    block = BLOCK[task](arguments(task, "adaptive_deq"), netR, netA, optR, optA, nn.MSELoss()).double()
    found = {name: [] for name in ("x_in", "x_out", "zs")}

    def watch(module, given, image):
        found["x_in"].append(given[0].clone())
        found["x_out"].append(image)
        found["zs"].append(module.Zk)

    block.register_forward_hook(watch)
    kind = deq.DEQIPFixedPoint_v3 if task == "defog" else deq.DEQIPFixedPoint
    model = kind(block, deq.anderson, m=5, beta=1.0, lam=1e-3, max_iter=CALLS, tol=1e-3)
    A0, y = nominal(task, arrays), arrays["y"]
    engine = steps.refusal(netA, A0, y, block.criteria)
    assert (engine is None) == (backend == "auto"), engine

    x = model(y, y.clone(), y.clone(), A0, train=False)
    assert not x.requires_grad and not netA.training and netR.training
    pairs = {name: (torch.stack(values), arrays[name]) for name, values in found.items()}
    pairs |= {"x": (x, arrays["x"])}
    pairs |= {"residuals": (torch.tensor(model.forward_res, dtype=torch.float64), arrays["residuals"])}
    held(pairs | golden.state(netA, arrays))
