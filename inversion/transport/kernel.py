"""Particles through `Fields`, compiled: mean wind, turbulence, reflection at ground and top of the boundary layer.

Vertical turbulence of a particle in the layer, ω = w'/σ_w, in steps Δ of half a move, a kick, half a move::

    z += Δ/2 σ_w ω (1 + Δ/4 ω dσ_w/dz)
    ω = r ω + sqrt(1 - r²) N + τ (1 - r) (dσ_w/dz + σ_w dlnρ/dz)
    z += Δ/2 σ_w ω (1 + Δ/4 ω dσ_w/dz)

r = exp(-Δ/τ), Δ = 10 s, in stable air min(10 s, h/(200 u*)) (Thomson 1987, J. Fluid Mech. 180, 529). The symmetric
order keeps what is well mixed so, and so does the second term of a move, by which it can be undone. ω changes sign at
the ground and at the top. Backward in time only the mean wind turns. Above the layer 50 m² s-1 spread particles along
the ground, nothing does up and down. Mean winds by midpoints, linear in time and space, logarithmic in height.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np

from inversion.transport import chance
from inversion.transport.fields import EARTH_RADIUS, HIGHEST_LAYER, LEVELS, LOWEST_LAYER
from inversion.transport.turbulence import horizontal, vertical

STEP: Final = 10.0
"""Longest step of vertical turbulence [s]."""
OUTER: Final = 300.0
"""Longest step of the mean wind [s]."""
SPREAD: Final = 50.0
"""Diffusion along the ground above the layer [m2 s-1]."""
M_AIR: Final = 0.0289652
"""kg mol-1, dry air."""
_RADIANS: Final = math.pi / 180.0
_DEGREE: Final = EARTH_RADIUS * math.pi / 180.0
_K: Final = LEVELS.size
_LOG: Final = np.log(LEVELS)
_WIDTH: Final = np.diff(_LOG)
_FINE: Final = 2048
_PLACE: Final = np.interp(
    np.log(np.linspace(0, 1, _FINE + 1) ** 2 * (LEVELS[-1] - LEVELS[0]) + LEVELS[0]), _LOG, np.arange(_K)
)
"""Place among the levels (logarithmic between them) of evenly spaced roots of height."""


@numba.njit(inline="always")
def _place(z: Any) -> Any:
    """Return the place of a height among the levels, from 0 to K - 1."""
    if z <= LEVELS[0]:
        return 0.0
    root = math.sqrt((z - LEVELS[0]) / (LEVELS[_K - 1] - LEVELS[0])) * _FINE
    if root >= _FINE:
        return _K - 1.0
    below = int(root)
    return _PLACE[below] + (root - below) * (_PLACE[below + 1] - _PLACE[below])


@numba.njit(inline="always")
def _near_ground(z: Any, speed: Any, ustar: Any) -> Any:
    """Return the share of the lowest level's wind at a height below it: logarithmic down to the roughness."""
    if z >= LEVELS[0]:
        return 1.0
    steepness = 0.4 * max(speed, 0.1) / max(ustar, 0.02)  # ln(z_1/z_0)
    return max(1.0 + math.log(max(z, 1e-3) / LEVELS[0]) / max(steepness, 1.0), 0.05)


@numba.njit(inline="always")
def _share(values: Any, at: Any, t0: Any, step: Any) -> Any:
    """Return index below and share of a value on an even grid of a size."""
    place = (at - t0) / step
    below = min(max(math.floor(place), 0), values - 2)
    return below, place - below


@numba.njit(inline="always")
def _flat(field: Any, it: Any, ft: Any, iy: Any, fy: Any, ix: Any, fx: Any) -> Any:
    """Return a field (T, Y, X) at a place."""
    a = (1 - fy) * ((1 - fx) * field[it, iy, ix] + fx * field[it, iy, ix + 1])
    a += fy * ((1 - fx) * field[it, iy + 1, ix] + fx * field[it, iy + 1, ix + 1])
    b = (1 - fy) * ((1 - fx) * field[it + 1, iy, ix] + fx * field[it + 1, iy, ix + 1])
    b += fy * ((1 - fx) * field[it + 1, iy + 1, ix] + fx * field[it + 1, iy + 1, ix + 1])
    return (1 - ft) * a + ft * b


@numba.njit(inline="always")
def _level(field: Any, it: Any, ft: Any, k: Any, iy: Any, fy: Any, ix: Any, fx: Any) -> Any:
    """Return a field (T, K, Y, X) at a level."""
    a = (1 - fy) * ((1 - fx) * field[it, k, iy, ix] + fx * field[it, k, iy, ix + 1])
    a += fy * ((1 - fx) * field[it, k, iy + 1, ix] + fx * field[it, k, iy + 1, ix + 1])
    b = (1 - fy) * ((1 - fx) * field[it + 1, k, iy, ix] + fx * field[it + 1, k, iy, ix + 1])
    b += fy * ((1 - fx) * field[it + 1, k, iy + 1, ix] + fx * field[it + 1, k, iy + 1, ix + 1])
    return (1 - ft) * a + ft * b


@numba.njit(inline="always")
def _volume(field: Any, it: Any, ft: Any, place: Any, iy: Any, fy: Any, ix: Any, fx: Any) -> Any:
    """Return a field (T, K, Y, X) at a place among the levels."""
    k = min(int(place), _K - 2)
    share = place - k
    low, high = _level(field, it, ft, k, iy, fy, ix, fx), _level(field, it, ft, k + 1, iy, fy, ix, fx)
    return (1 - share) * low + share * high


@numba.njit(inline="always")
def _swung(velocity: Any, tau: Any, dt: Any, state: Any) -> Any:
    """Return an Ornstein-Uhlenbeck velocity after a step [σ], and its integral over the step [σ s], exactly."""
    r = math.exp(-dt / tau)
    n1, n2 = chance.normal(state), chance.normal(state)
    drift = tau * (1.0 - r) * velocity + _together(r) * tau * n1
    return r * velocity + math.sqrt(1.0 - r * r) * n1, drift + tau * _apart(dt / tau, r) * n2


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"})
def follow(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917  one loop, compiled as a whole
    time: Any, y_axis: Any, x_axis: Any, u: Any, v: Any, w: Any, rho: Any,
    layer: Any, ustar_field: Any, wstar_field: Any, stability_field: Any, geographic: Any,
    start: Any, x0: Any, y0: Any, z0: Any, count: Any, direction: Any, duration: Any, seed: Any, receptor: Any,
    turbulent: Any, mixing_share: Any, near_field: Any,
    gx: Any, gdx: Any, gnx: Any, gy: Any, gdy: Any, gny: Any, bin_of: Any, bounds: Any,
    srr: Any, ends: Any, left: Any, moments: Any, path: Any,
) -> Any:  # fmt: skip
    """Follow the particles of one release; see `inversion.transport.particles`.

    ``x0``, ``y0``, ``z0`` (count,) are where each begins; ``near_field`` says that h_mix grows from there on.
    ``bin_of`` (hours x 12,) is the bin of each `OUTER` since the release; ``bounds`` (4,) the lowest and highest x and
    y beyond which particles are not followed.
    ``srr`` (bins, gny, gnx) is added to: s m2 per mol, for one particle's share; ``ends`` (count, 4) get time, x, y, z
    where each ended; ``left`` (count,) the side it left by (0 none, 1 west, 2 east, 3 south, 4 north); ``moments``
    (bins, 5) is added to: time, and time by x, y, x², y², both counted from where the particle began; ``path`` (count,
    steps, 3) gets x, y, z after each `OUTER`, where there are any. Returns particle-seconds within the layer and
    altogether.
    """
    state = np.empty(2, np.uint64)
    column_u, column_v = np.empty(_K), np.empty(_K)
    x_step, y_step = x_axis[1] - x_axis[0], y_axis[1] - y_axis[0]
    t_step = time[1] - time[0]
    inside_seconds = total_seconds = 0.0
    for particle in range(count):
        chance.start(state, seed, receptor, particle)
        x, y, z, elapsed = x0[particle], y0[particle], z0[particle], 0.0
        omega, along, across = chance.normal(state), chance.normal(state), chance.normal(state)
        was_inside, side = True, 0
        sigma_0 = tau_0 = -1.0  # of the vertical turbulence where it was released
        while elapsed < duration:
            now = start + direction * elapsed
            it, ft = _share(time.size, now, time[0], t_step)
            iy, fy = _share(y_axis.size, y, y_axis[0], y_step)
            ix, fx = _share(x_axis.size, x, x_axis[0], x_step)
            h = min(max(_flat(layer, it, ft, iy, fy, ix, fx), LOWEST_LAYER), HIGHEST_LAYER)
            ustar = max(_flat(ustar_field, it, ft, iy, fy, ix, fx), 0.02)
            # metres to units of x and y
            to_y = 1.0 / _DEGREE if geographic else 1.0
            to_x = to_y / max(math.cos(y * _RADIANS), 0.05) if geographic else 1.0
            inside = turbulent and z < h
            # Where the particle would be after half the step by the mean wind: there the step is made.
            place = _place(z)
            u0 = _volume(u, it, ft, place, iy, fy, ix, fx)
            v0 = _volume(v, it, ft, place, iy, fy, ix, fx)
            speed = math.sqrt(u0 * u0 + v0 * v0)
            lower = _near_ground(z, speed, ustar)
            # No step leaps over a cell; steps end where bins do.
            cell = min(gdx / to_x, gdy / to_y)
            dt = min(OUTER, max(0.5 * cell / max(lower * speed, 0.1), STEP))
            dt = min(dt, OUTER * (math.floor(elapsed / OUTER + 1e-9) + 1.0) - elapsed, duration - elapsed)
            half = 0.5 * direction * dt
            xm, ym = x + half * lower * u0 * to_x, y + half * lower * v0 * to_y
            w0 = _volume(w, it, ft, place, iy, fy, ix, fx)
            low = min(z / LEVELS[0], 1.0)
            zm = z + half * low * w0
            it, ft = _share(time.size, now + half, time[0], t_step)
            iy, fy = _share(y_axis.size, ym, y_axis[0], y_step)
            ix, fx = _share(x_axis.size, xm, x_axis[0], x_step)
            if geographic:
                to_x = to_y / max(math.cos(ym * _RADIANS), 0.05)
            dx, dy, near = 0.0, 0.0, 0.0
            if inside:
                if not was_inside:
                    omega, along, across = chance.normal(state), chance.normal(state), chance.normal(state)
                wstar = _flat(wstar_field, it, ft, iy, fy, ix, fx)
                stability = _flat(stability_field, it, ft, iy, fy, ix, fx)
                top = min(int(_place(h)) + 1, _K - 1)
                for k in range(top + 1):
                    column_u[k] = _level(u, it, ft, k, iy, fy, ix, fx)
                    column_v[k] = _level(v, it, ft, k, iy, fy, ix, fx)
                density_low = _level(rho, it, ft, 0, iy, fy, ix, fx)
                density_mid = _volume(rho, it, ft, _place(0.5 * h), iy, fy, ix, fx)
                thinning = math.log(density_mid / density_low) / max(0.5 * h - LEVELS[0], 1.0)
                mixing = mixing_share * h
                growing = near_field
                if growing and sigma_0 < 0.0:
                    sigma_0, _, tau_0 = vertical(z0[particle], h, ustar, wstar, stability)
                stable = stability > 0.0 and h * stability >= 1.0
                wanted = min(STEP, h / (200.0 * ustar)) if stable else STEP
                steps = math.ceil(dt / wanted)
                d = dt / steps
                speed = math.sqrt(column_u[0] ** 2 + column_v[0] ** 2)
                moved_u = moved_v = 0.0
                for step in range(steps):
                    if growing:
                        mixing = z0[particle] + _grown(sigma_0, tau_0, elapsed + (step + 0.5) * d)
                        growing = mixing < mixing_share * h
                        mixing = min(mixing, mixing_share * h)
                    sigma, slope, tau = vertical(z, h, ustar, wstar, stability)
                    half = 0.5 * d * omega
                    z += half * sigma * (1.0 + 0.5 * half * slope)
                    if z < 0.0:
                        z, omega = -z, -omega
                    if z > h:
                        z, omega = max(2.0 * h - z, 0.0), -omega
                    sigma, slope, tau = vertical(z, h, ustar, wstar, stability)
                    part = d / tau
                    # exp(-x) for x up to 1/3, to 1e-6
                    r = 1.0 - part * (1.0 - part * (0.5 - part * (1 / 6 - part * (1 / 24 - part / 120))))
                    omega = r * omega + math.sqrt(1.0 - r * r) * chance.normal(state)
                    omega += tau * (1.0 - r) * (slope + sigma * thinning)
                    place = _place(z)
                    k = min(int(place), _K - 2)
                    share = place - k
                    lower = _near_ground(z, speed, ustar) if z < LEVELS[0] else 1.0
                    moved_u += lower * (column_u[k] + share * (column_u[k + 1] - column_u[k]))
                    moved_v += lower * (column_v[k] + share * (column_v[k + 1] - column_v[k]))
                    if z < mixing:
                        near += d / mixing
                    half = 0.5 * d * omega
                    z += half * sigma * (1.0 + 0.5 * half * slope)
                    if z < 0.0:
                        z, omega = -z, -omega
                    if z > h:
                        z, omega = max(2.0 * h - z, 0.0), -omega
                dx, dy = direction * d * moved_u, direction * d * moved_v
                # Turbulence along and across the wind: an Ornstein-Uhlenbeck process and its integral, exactly.
                su, sv, tu, tv = horizontal(z, h, ustar, stability)
                along, out_u = _swung(along, tu, dt, state)
                across, out_v = _swung(across, tv, dt, state)
                size = max(math.sqrt(dx * dx + dy * dy), 1e-9)
                ex, ey = dx / size, dy / size
                out_u, out_v = su * out_u, sv * out_v
                dx, dy = dx + out_u * ex - out_v * ey, dy + out_u * ey + out_v * ex
                rise = _volume(w, it, ft, _place(z), iy, fy, ix, fx)
                z += direction * dt * rise * min(z / LEVELS[0], 1.0)
                inside_seconds += dt
                if near > 0.0:
                    col, row = math.floor((xm - gx) / gdx), math.floor((ym - gy) / gdy)
                    if 0 <= col < gnx and 0 <= row < gny:
                        density = _volume(rho, it, ft, _place(0.5 * mixing), iy, fy, ix, fx)
                        srr[bin_of[int((elapsed + 0.5 * dt) / OUTER)], row, col] += M_AIR * near / (density * count)
            else:
                place = _place(zm)
                um = _volume(u, it, ft, place, iy, fy, ix, fx)
                vm = _volume(v, it, ft, place, iy, fy, ix, fx)
                wm = _volume(w, it, ft, place, iy, fy, ix, fx)
                lower = _near_ground(zm, math.sqrt(um * um + vm * vm), ustar)
                dx, dy = direction * dt * lower * um, direction * dt * lower * vm
                z += direction * dt * wm * min(zm / LEVELS[0], 1.0)
                if turbulent:
                    wide = math.sqrt(2.0 * SPREAD * dt)
                    dx, dy = dx + wide * chance.normal(state), dy + wide * chance.normal(state)
            was_inside = inside
            if z < 0.0:
                z = -z
            z = min(z, LEVELS[_K - 1])
            x, y = x + dx * to_x, y + dy * to_y
            if moments.shape[0]:
                part = bin_of[int((elapsed + 0.5 * dt) / OUTER)]
                away_x, away_y = x - x0[particle], y - y0[particle]
                moments[part, 0] += dt
                moments[part, 1] += dt * away_x
                moments[part, 2] += dt * away_y
                moments[part, 3] += dt * away_x * away_x
                moments[part, 4] += dt * away_y * away_y
            elapsed += dt
            total_seconds += dt
            if path.shape[1]:
                passed = int(elapsed / OUTER + 1e-9)
                if passed > 0 and elapsed - passed * OUTER < 1e-6:
                    path[particle, passed - 1, 0], path[particle, passed - 1, 1] = x, y
                    path[particle, passed - 1, 2] = z
            if x < bounds[0]:
                side = 1
            elif x > bounds[1]:
                side = 2
            elif y < bounds[2]:
                side = 3
            elif y > bounds[3]:
                side = 4
            if side:
                break
        ends[particle, 0], ends[particle, 1] = start + direction * elapsed, x
        ends[particle, 2], ends[particle, 3] = y, z
        left[particle] = side
    return inside_seconds, total_seconds


@numba.njit(inline="always")
def _grown(sigma: Any, tau: Any, t: Any) -> Any:
    """Return how far a cloud has spread after a time (Taylor 1921) [m]: sqrt(2) σ τ sqrt(t/τ - 1 + exp(-t/τ))."""
    part = t / tau
    inner = 0.5 * part * part * (1.0 - part / 3.0) if part < 1e-3 else part - 1.0 + math.exp(-part)
    return sigma * tau * math.sqrt(2.0 * inner)


@numba.njit(inline="always")
def _together(r: Any) -> Any:
    """Return what of an Ornstein-Uhlenbeck integral goes with its last kick [σ τ]: covariance over its deviation."""
    return (1.0 - r) ** 2 / math.sqrt(max(1.0 - r * r, 1e-12))


@numba.njit(inline="always")
def _apart(part: Any, r: Any) -> Any:
    """Return the deviation of the rest of it [σ τ]."""
    variance = 2.0 * part - 3.0 + 4.0 * r - r * r
    return math.sqrt(max(variance - (1.0 - r) ** 4 / max(1.0 - r * r, 1e-12), 0.0))
