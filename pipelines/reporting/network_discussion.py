"""What a comparison of networks shows, in sentences that each follow from its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.examples import Fields
from pipelines.formatting import count, interval, score, some
from pipelines.reporting.network_comparison import SPLITS

NEAR = 0.1  # a gap, or a change by length, below a tenth of the MSE is called small
NOTABLE = 1.5  # a ratio above which the errors of two parts are called different


def discussion(comparison: Fields) -> list[str]:
    """Sentences on the ranking, the best possible MSE, overfitting, lengths, speed and size."""
    scored = list(comparison["examples"])
    if not scored:
        return ["No split that is compared has numbers to score against."]
    split = "test" if "test" in scored else scored[-1]
    ranked = sorted(comparison["networks"], key=lambda name: mse(comparison, name, split))
    return [
        _lowest(comparison, ranked, split),
        *_verdicts(comparison, ranked, split),
        *_agreement(comparison, ranked),
        *_mean_baseline(comparison, ranked, split),
        *_best_possible(comparison, ranked, split),
        *_gaps(comparison),
        *_lengths(comparison, ranked, split),
        *_size_and_speed(comparison, ranked),
    ]


def mse(comparison: Fields, name: str, split: str) -> float:
    """The MSE of a network on a split."""
    return float(comparison["networks"][name][split]["mse"])


def pair_in_words(pair: Fields) -> str:
    """A sentence on the test of two networks."""
    numbers = (
        f"Δ = {score(pair['delta'], 1)} {interval(pair['interval'], 1)}, "
        f"p = {pair['p_adjusted']:.2g}"
    )
    if pair["better"] is None:
        return f"{pair['first']} and {pair['second']} cannot be told apart ({numbers})"
    first, second = pair["first"], pair["second"]
    better, worse = (first, second) if pair["better"] == "a" else (second, first)
    return f"{better} is better than {worse} ({numbers})"


def _lowest(comparison: Fields, ranked: list[str], split: str) -> str:
    listed = ", ".join(f"{name} {score(mse(comparison, name, split), 1)}" for name in ranked)
    if len(ranked) == 1:
        return f"MSE on {SPLITS[split]}: {listed}."
    return f"On {SPLITS[split]}, {ranked[0]} has the lowest MSE ({listed})."


def _verdicts(comparison: Fields, ranked: list[str], split: str) -> Iterator[str]:
    pairs = comparison["verdicts"][split]
    if pairs:
        yield f"{'; '.join(map(pair_in_words, pairs))}."
    beaten = {
        pair["second" if pair["better"] == "a" else "first"] for pair in pairs if pair["better"]
    }
    best = [name for name in ranked if name not in beaten]
    if len(best) > 1:
        yield f"So the data does not decide between {some(best)}."


def _agreement(comparison: Fields, ranked: list[str]) -> Iterator[str]:
    """Whether validation would have chosen what test shows."""
    if set(comparison["examples"]) != {"dev", "test"} or len(ranked) < 2:
        return
    on_dev = min(ranked, key=lambda name: mse(comparison, name, "dev"))
    if on_dev == ranked[0]:
        yield f"Validation ranks {on_dev} first too."
    else:
        yield f"Validation ranks {on_dev} first, test {ranked[0]}."


def _mean_baseline(comparison: Fields, ranked: list[str], split: str) -> Iterator[str]:
    baseline = comparison["mean_mse"][split]
    useless = []
    for name in ranked:
        if comparison["networks"][name][split]["interval"][1] >= baseline:
            useless.append(name)
    if useless:
        yield (
            f"Always predicting the training mean has {score(baseline, 1)}, which the interval of "
            f"{some(useless)} does not exclude."
        )


def _best_possible(comparison: Fields, ranked: list[str], split: str) -> Iterator[str]:
    best = comparison["best_mse"]
    if best is None:
        return
    row = comparison["networks"][ranked[0]][split]
    low, high = row["interval"]
    distance = abs(row["mse"] / best - 1) if best else abs(row["mse"])
    shown = f"{100 * distance:.0f} %" if best else score(distance, 1)
    side = "above" if row["mse"] >= best else "below"
    yield f"The best possible MSE is {score(best, 1)}; {ranked[0]} is {shown} {side} it."
    if low <= best <= high:
        yield "The interval includes it, so these examples show nothing more to learn."
    elif low > best:
        yield "The interval excludes it: there is more to learn than was learnt."


def _gaps(comparison: Fields) -> Iterator[str]:
    gaps = {name: row["gap"] for name, row in comparison["networks"].items()}
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    over = [name for name, gap in known.items() if -gap > NEAR * mse(comparison, name, "dev")]
    if not known:
        return
    if not over:
        yield "No network fits its training examples much better than validation."
        return
    listed = []
    for name in sorted(over, key=lambda name: known[name]):
        row = comparison["networks"][name]
        train, dev = score(row["train_mse"], 1), score(row["dev"]["mse"], 1)
        listed.append(f"{name} (train {train}, validation {dev})")
    yield f"Overfitting is largest in {listed[0]}."
    if len(listed) > 1:
        yield f"Less of it, but more than a tenth of the MSE, shows {some(listed[1:])}."


def _lengths(comparison: Fields, ranked: list[str], split: str) -> Iterator[str]:
    alike = []
    for name in ranked:
        parts = list(comparison["networks"][name][split]["by_length"].items())
        if len(parts) < 2:
            return
        (short, first), (long, last) = parts[0], parts[-1]
        low, high = sorted((first, last))
        if not low or high / low < NOTABLE:
            alike.append(name)
            continue
        worse = "long" if last > first else "short"
        yield (
            f"{name} has the larger errors on {worse} sequences: MSE {score(first, 1)} at {short} "
            f"steps, {score(last, 1)} at {long}."
        )
    if alike:
        yield f"The MSE of {some(alike)} hardly depends on the length."


def _size_and_speed(comparison: Fields, ranked: list[str]) -> Iterator[str]:
    networks = comparison["networks"]
    sizes = {name: networks[name]["parameters"] for name in ranked if networks[name]["parameters"]}
    if len(sizes) > 1:
        small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        times = sizes[large] / sizes[small]
        yield (
            f"{large} has {times:.1f} times the parameters of {small} "
            f"({sizes[large]:,} and {sizes[small]:,})."
        )
    epochs = {name: networks[name]["epochs_near_best"] for name in ranked}
    epochs = {name: number for name, number in epochs.items() if number is not None}
    if len(epochs) > 1:
        listed = ", ".join(f"{name} {count(round(number, 1))}" for name, number in epochs.items())
        yield f"Epochs until the MSE on validation was within 5 % of its lowest: {listed}."
