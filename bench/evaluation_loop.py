"""Evaluation loops in the shape of the authors' scripts; bench/compat.py runs them with two sets of imports."""

import time

import torch
from torch import nn

from aafast.compat.invprobs import deq
from aafast.compat.invprobs import network_hqs as nets
from aafast.compat.invprobs import network_lu as lu_nets
from aafast.compat.invprobs.forward_models import GaussianBlur


def score(Xk, X):
    """Mean PSNR of a batch, peak max|X|."""
    mse = (Xk.double() - X.double()).square().flatten(1).mean(1)
    return (20 * X.double().abs().flatten(1).amax(1).log10() - 10 * mse.log10()).mean().item()


def forward_model(args, given):
    """What the networks take: a blur, dense matrices, or the depth."""
    if args.task == "deblur":
        return GaussianBlur(sigma=args.sigma, kernel_size=7, n_channels=3).to(args.device)
    return given.to(args.device)


def adaptive_deq(args, loader, params):
    """A-adaptive DEQ: (PSNR, seconds) of every batch."""
    if args.task == "deblur":
        netA, netR = nets.netA_deblur_sn(args, nlayers=3), nets.proxNet_deblur_sn(args, nlayers=5)
        kth_iter, fixed_point = deq.deblur_deq_kth_iter, deq.DEQIPFixedPoint
    elif args.task == "deconv":
        netA, netR = nets.netA_kernel_sn(args, nlayers=3), nets.proxNet_deconv_sn(args, nlayers=9)
        kth_iter, fixed_point = deq.deconv_deq_kth_iter, deq.DEQIPFixedPoint
    else:
        netA, netR = nets.netA_fogging_sn(args), nets.proxNet_fog_sn(7, args)
        kth_iter, fixed_point = deq.defog_deq_kth_iter, deq.DEQIPFixedPoint_v3
    optA = torch.optim.AdamW(netA.parameters(), lr=args.lr_A)
    optR = torch.optim.AdamW(netR.parameters(), lr=args.lr)
    invBlock = kth_iter(args, netR, netA, optR, optA, nn.MSELoss()).to(args.device)
    model = fixed_point(invBlock, deq.anderson, m=args.and_m, beta=args.and_beta, lam=1e-3,
                        max_iter=args.and_maxiters, tol=args.and_tol)
    model.load_state_dict(params)

    found = []
    for X, y, given in loader:
        begin = time.perf_counter()
        A0 = forward_model(args, given)
        X0, Z0 = y.clone(), y.clone()
        Xk = model(y, X0, Z0, A0, train=False)
        found.append((score(Xk, X), time.perf_counter() - begin))
    return found


def adaptive_lu(args, loader, params):
    """A-adaptive LU: (PSNR, seconds) of every batch."""
    if args.task == "deblur":
        netA, netR = nets.netA_deblur(args, nlayers=3), nets.proxNet_deblur(args, nlayers=5)
    elif args.task == "deconv":
        netA, netR = nets.netA_kernel(args, nlayers=3), nets.proxNet_deconv(args, nlayers=9)
    else:
        netA, netR = nets.netA_foggy(args), nets.proxNet_fog(7, args)
    netA.load_state_dict(params["netA"])
    netR.load_state_dict(params["netR"])
    optA = torch.optim.AdamW(netA.parameters(), lr=args.lr_A)
    criteria = nn.MSELoss()

    found = []
    for X, y, given in loader:
        begin = time.perf_counter()
        A0 = forward_model(args, given)
        Xk, Zk = y.clone(), y.clone()
        for _ in range(args.maxiters):
            netA.eval()
            netR.eval()
            Zk = Zk.detach().requires_grad_(True)
            optZ = torch.optim.AdamW([Zk], lr=args.lr_Z)
            y0, yk = netA(Zk, A0)
            loss = criteria(y, yk) + args.gamma * criteria(yk, y0) + args.lamb * criteria(Xk.detach(), Zk)
            loss.backward()
            optZ.step()
            Zk = Zk.detach()

            netA.train()
            optA.zero_grad()
            y0, yk = netA(Zk, A0)
            loss = criteria(y, yk) + args.gamma * criteria(yk, y0)
            loss.backward()
            optA.step()

            netA.eval()
            with torch.no_grad():
                Xk = netR(Xk, Zk, y)
        found.append((score(Xk, X), time.perf_counter() - begin))
    return found


def robust_lu(args, loader, params):
    """Robust LU: (PSNR, seconds) of every batch."""
    if args.task == "deblur":
        invBlock = lu_nets.LU_deblur(args, nlayers=5)
    elif args.task == "deconv":
        invBlock = lu_nets.LU_deconv(args, nlayers=9)
    else:
        invBlock = lu_nets.LU_deconv_defog(args, nlayers=7)
    invBlock.load_state_dict(params)

    found = []
    for X, y, given in loader:
        begin = time.perf_counter()
        A0 = forward_model(args, given)
        Xk = y.clone()
        with torch.no_grad():
            for _ in range(args.maxiters):
                Xk = invBlock(Xk, y) if args.task == "defog" else invBlock(Xk, y, A0)
        found.append((score(Xk, X), time.perf_counter() - begin))
    return found
