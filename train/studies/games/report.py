"""The pictures and the numbers of `train.studies.games.games` and `train.studies.games.gan`, written to a folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train import files, records
from train.report import style, tables
from train.report.statistics import estimate
from train.studies.games import figures as games_figures
from train.studies.games.games import ARMS, GAMES, NEAR, Found, Sweep, sweep
from train.studies.games.gan import ARMS as GAN_ARMS
from train.studies.games.gan import FIRST_TUNING_SEED, Gan, Tuned, run_arm
from train.studies.games.methods import METHODS


def study(
    out: Path, *, seeds: int, command: str, how: Sweep | None = None, gan: Gan | None = None
) -> tuple[list[tables.Table], list[Path]]:
    """Play all games by all methods and write `games.json`, and `games-small` and `games-gan` as PNG and SVG.

    Args:
      out: Folder to write to, created if necessary.
      seeds: Number of final runs of the GAN, at least 2.
      command: The command line, for the record.
      how: The budget of every method on the small games; None means the default.
      gan: The GAN and the budget of each of its arms; None means the default.

    Returns:
      The table of each game, and the files written.

    Raises:
      OSError: If the files cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    how, gan = how or Sweep(), gan or Gan()
    found = {name: sweep(game, ARMS, how) for name, game in GAMES.items()}
    tuned = {arm: run_arm(gan, *arm, seeds) for arm in GAN_ARMS}
    words = files.dumps_entries(
        records.environment()
        | {"command": command, "small": _small_numbers(found, how), "gan": _gan_numbers(tuned, gan, seeds)},
        entries=("arms",),
    )
    path = out / "games.json"
    files.write_atomically(path, words.encode())
    drawn = [
        *style.save(games_figures.small(found), out / "games-small"),
        *style.save(games_figures.samples(gan, tuned), out / "games-gan"),
    ]
    # Make the tables from the written record, so that they can be reproduced from it.
    document = files.loads(words.encode())
    return [*(small_table(document, name) for name in GAMES), gan_table(document)], [path, *drawn]


def small_table(document: Mapping[str, Any], name: str) -> tables.Table:
    """The results of every method on one small game."""
    small = document["small"]
    game, number = small["games"][name], len(small["rates"])
    return tables.Table(
        title=game["title"],
        columns=("Method", "products per step", "best rate", "steps", "rates that converge", "converge", "diverge"),
        rows=[
            (
                arm,
                str(numbers["cost"]),
                *(_best(numbers) or (tables.NONE,) * 3),
                f"{numbers['converged']} of {number}",
                f"{numbers['diverged']} of {number}",
            )
            for arm, numbers in game["arms"].items()
        ],
        note=f"Converge: within {small['near']:g} of the distance at the start, from some step to the last of "
        f"{small['sweep']['steps']}; steps: the first such, at the best rate. Diverge: ends farther away than it "
        "began. Products: evaluations of the field and products with its Jacobian."
        + ("" if game["stable"] else " The fixed point is unstable: a method should not converge to it."),
    )


def gan_table(document: Mapping[str, Any]) -> tables.Table:
    """The results of every arm on the GAN."""
    gan = document["gan"]
    settings = gan["settings"]
    return tables.Table(
        title=f"GAN on a ring of {settings['modes']} Gaussians, {settings['steps']} steps",
        columns=("Optimizer", "Method", "products per step", "rate", "modes found", "quality", "not finite"),
        rows=gan_rows(document),
        note=f"Means over {gan['seeds']} seeds, with 95 % intervals by Student's t, cut at the possible values. A run "
        "that ends with parameters that are not finite counts as zero modes and zero quality. A mode is found if "
        f"{settings['share']:.0%} of {settings['samples']} samples lie within three standard deviations of it. The "
        "quality is the share of samples so near any mode. The rate is the best of "
        f"{len(settings['sgd_rates'])}, by modes and then quality on {settings['tuning_seeds']} other seeds.",
    )


def small_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The published table of the small games: one row per method, one column per game."""
    games = document["small"]["games"].values()
    rows = []
    for arm, numbers in next(iter(games))["arms"].items():
        found = [_best(game["arms"][arm]) for game in games]
        cells = ["none" if best is None else f"{best[1]} at {best[0]} ({best[2]})" for best in found]
        rows.append((arm, str(numbers["cost"]), *cells))
    return rows


def gan_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The published table of the GAN, one row per arm."""
    return [
        (
            arm["inner"],
            arm["method"],
            str(arm["cost"]),
            f"{arm['rate']:g}",
            _in_words(arm["modes"], "z.1f", document["gan"]["settings"]["modes"]),
            _in_words(arm["quality"], "z.0%", 1),
            f"{arm['not_finite']} of {document['gan']['seeds']}",
        )
        for arm in document["gan"]["arms"]
    ]


def _best(numbers: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Best rate, steps at it, and the range of rates that converge; None if none does."""
    if numbers["best_rate"] is None:
        return None
    lowest, highest = numbers["range"]
    return f"{numbers['best_rate']:.3g}", str(numbers["best_steps"]), f"{lowest:.2g} to {highest:.2g}"


def _in_words(found: Mapping[str, Any], form: str, most: float) -> str:
    """A mean with its interval, cut at 0 and at the largest possible value."""
    low, high = found["interval"]
    interval = "" if low is None else f" ({max(low, 0):{form}} to {min(high, most):{form}})"
    return f"{found['mean']:{form}}{interval}"


def _small_numbers(found: Mapping[str, Mapping[str, Found]], how: Sweep) -> dict[str, Any]:
    return {
        "sweep": dataclasses.asdict(how),
        "near": NEAR,
        "rates": _short(how.rates),
        "games": {
            name: {
                "title": GAMES[name].title,
                "start": GAMES[name].start,
                "stable": GAMES[name].stable,
                "arms": {arm: _found_numbers(arm, numbers) for arm, numbers in arms.items()},
            }
            for name, arms in found.items()
        },
    }


def _found_numbers(arm: str, found: Found) -> dict[str, Any]:
    best, converging = found.best, _short(found.rates[found.converged])
    return {
        "method": ARMS[arm].method.title,
        "cost": ARMS[arm].method.cost,
        "best_rate": None if best is None else _short(found.rates)[best],
        "best_steps": None if best is None else int(found.steps[best]),
        "range": None if best is None else (converging[0], converging[-1]),
        "converged": int(found.converged.sum()),
        "diverged": int(found.diverged.sum()),
        "distance": _short(found.distance),
        "steps": found.steps.tolist(),
    }


def _gan_numbers(tuned: Mapping[tuple[str, str], Tuned], how: Gan, seeds: int) -> dict[str, Any]:
    return {
        "settings": dataclasses.asdict(how),
        "seeds": seeds,
        "first_tuning_seed": FIRST_TUNING_SEED,
        "arms": [_arm_numbers(inner, method, how, numbers) for (inner, method), numbers in tuned.items()],
    }


def _arm_numbers(inner: str, method: str, how: Gan, tuned: Tuned) -> dict[str, Any]:
    rates, tuning, final = how.rates(inner), tuned.tuning, tuned.final
    tries = [values.reshape(len(rates), -1) for values in (tuning.modes[:, -1], tuning.quality[:, -1], tuning.finite)]
    return {
        "inner": inner,
        "method": method,
        "cost": METHODS[method].cost,
        "tuning": [
            {"rate": rate, "modes": modes.tolist(), "quality": _short(quality), "not_finite": int((~finite).sum())}
            for rate, modes, quality, finite in zip(rates, *tries, strict=True)
        ],
        "rate": tuned.rate,
        "modes": dataclasses.asdict(estimate(final.modes[:, -1].tolist())),
        "quality": dataclasses.asdict(estimate(_short(final.quality[:, -1]))),
        "not_finite": int((~final.finite).sum()),
        "looks": {
            "steps": list(range(how.look_every, how.steps + 1, how.look_every)),
            "mean_modes": _short(final.modes.mean(axis=0)),
            "mean_quality": _short(final.quality.mean(axis=0)),
        },
    }


def _short(values: np.ndarray) -> list[float]:
    """Round to the digits that float32 can represent."""
    return [float(f"{value:.6g}") for value in values]
