"""The GRU of the head with a backward pass that forms each weight's gradient in one matrix product.

PyTorch's GRU on a CPU adds up a weight gradient [3 H, H] at every frame, which at 1,024 units costs more than all the
rest of it. Parameters, their names and the numbers are those of `torch.nn.GRU` (its equations, PyTorch manual).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.supernet.precision import full_precision


class GatheredGRU(nn.GRU):
    """nn.GRU, batch first; on a CPU in training, weight gradients are gathered over the frames."""

    @classmethod
    def like(cls, gru: nn.GRU) -> GatheredGRU:
        """One with the parameters of a GRU; draws no random numbers that others would miss."""
        with torch.random.fork_rng(devices=[]):
            made = cls(gru.input_size, gru.hidden_size, gru.num_layers, batch_first=True)
        made.load_state_dict(gru.state_dict())
        return made

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, C] -> the last layer at every frame [B, T, H], the last frame of every layer [layers, B, H]."""
        plain = hx is not None or self.bidirectional or not self.bias or not self.batch_first or x.dim() != 3
        if plain or x.device.type != "cpu" or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().forward(x, hx)  # type: ignore[has-type]
        last = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            x = _Layer.apply(x, *(getattr(self, f"{name}_l{layer}") for name in names))
            last.append(x[:, -1])
        return x, torch.stack(last)


class _Layer(torch.autograd.Function):
    """One layer from a zero state: r, z = sigmoid(..), n = tanh(Wx + r (U h + c)), h = (1 - z) n + z h."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, u: Tensor, bias: Tensor, recurrent_bias: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        units = u.shape[1]
        incoming = torch.addmm(bias, x.transpose(0, 1).reshape(frames * batch, -1), w.t()).view(frames, batch, -1)
        gates = x.new_empty(frames, batch, 3, units)
        recurrent = x.new_empty(frames, batch, units)
        states = x.new_zeros(frames + 1, batch, units)
        transposed = u.t()
        for t in range(frames):
            product = torch.addmm(recurrent_bias, states[t], transposed)
            gate = (incoming[t, :, : 2 * units] + product[:, : 2 * units]).sigmoid_().unflatten(1, (2, units))
            new = torch.addcmul(incoming[t, :, 2 * units :], gate[:, 0], product[:, 2 * units :]).tanh_()
            torch.lerp(new, states[t], gate[:, 1], out=states[t + 1])
            gates[t, :, :2], gates[t, :, 2], recurrent[t] = gate, new, product[:, 2 * units :]
        ctx.save_for_backward(x, w, u, bias, recurrent_bias)
        ctx.kept = gates, recurrent, states
        return states[1:].transpose(0, 1)

    @staticmethod
    @full_precision
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, w, u, bias, recurrent_bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            # To be differentiated again: through the definition.
            wanted = [t for t in ctx.saved_tensors if t.requires_grad]
            start = x.new_zeros(1, x.shape[0], u.shape[1])
            again = torch.gru(x, start, [w, u, bias, recurrent_bias], True, 1, 0.0, False, False, True)[0]
            found = iter(torch.autograd.grad(again, wanted, gradient, create_graph=True))
            return tuple(next(found) if t.requires_grad else None for t in ctx.saved_tensors)
        gates, recurrent, states = ctx.kept
        frames, batch, _, units = gates.shape
        reset, update, new = gates.unbind(2)
        # Everything that does not wait for the state's gradient, for all frames at once.
        to_new = (1 - update) * (1 - new.square())
        to_update = (states[:-1] - new) * update * (1 - update)
        to_reset = recurrent * reset * (1 - reset)
        incoming = x.new_empty(frames, batch, 3 * units)
        outgoing = x.new_empty(frames, batch, 3 * units)
        state = x.new_zeros(batch, units)
        for t in range(frames - 1, -1, -1):
            state = state + gradient[:, t]
            dn = state * to_new[t]
            dz = state * to_update[t]
            dr = dn * to_reset[t]
            torch.cat([dr, dz, dn], dim=1, out=incoming[t])
            torch.cat([dr, dz, dn * reset[t]], dim=1, out=outgoing[t])
            state = torch.addmm(state * update[t], outgoing[t], u)
        flat_in, flat_out = incoming.flatten(0, 1), outgoing.flatten(0, 1)
        needs = ctx.needs_input_grad
        return (
            (flat_in @ w).view(frames, batch, -1).transpose(0, 1) if needs[0] else None,
            flat_in.t() @ x.transpose(0, 1).reshape(frames * batch, -1) if needs[1] else None,
            flat_out.t() @ states[:-1].flatten(0, 1) if needs[2] else None,
            flat_in.sum(0) if needs[3] else None,
            flat_out.sum(0) if needs[4] else None,
        )
