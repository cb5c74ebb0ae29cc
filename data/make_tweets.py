"""Writes short noisy texts in the manner of tweets, in two classes, for the search of heads.

    python data/make_tweets.py [--seed 0] [--out data/samples/tweets]

Class 1 reports a fire, flood, storm or crash that happens; class 0 uses the same words otherwise:
in a figure of speech, about a film, a game or a song, or in passing. The texts are made up from the
frames below and report no real event. Typing errors, stretched words, missing capitals, hashtags,
names, links and emoticons come on top, and `--label_noise` of the labels are wrong. Half of dev and
of test is made from frames that training lacks. The same seed gives the same bytes; no text occurs
twice.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SIZES = {"train": 700, "dev": 150, "test": 150}
UNSEEN = 3  # frames of each class that only dev has, and as many that only test has
# `{a|b}` chooses.
REPORTS = (
    "{Fire|Huge fire|Wildfire} {near|spreading towards} {place}, "
    "{people told to leave|roads closed}",
    "{place} {bridge|road|station} closed after {a crash|an accident|a pile-up}, {number} hurt",
    "{Flood|Flash flood} warning for {place}, {stay off the roads|river still rising}",
    "{Storm|Tornado|Hurricane} {hit|reached} {place}, {number} homes without power",
    "Just felt {an earthquake|a tremor} in {place}, "
    "{anyone else|hope all are safe|windows shaking}?",
    "{Smoke|Flames} over {place} {right now|again}, "
    "{sirens everywhere|helicopters out|cannot breathe}",
    "We have been evacuated from {place}, the {water|fire} is {at the door|two streets away}",
    "{Train|Bus|Plane} crash {at|near} {place}: {number} {injured|missing|in hospital}",
    "Police {confirm|report} {an explosion|a fire} at {a factory|the market} in {place}",
    "Landslide {blocks|buries} the {road|line} to {place}, {rescue under way|no traffic today}",
    "No {power|water} in {place} since the storm, {day number|shelters are full}",
    "{Roof|Wall} of the {school|hall} in {place} collapsed in the {storm|rain}, {number} trapped",
)
OTHERS = (
    "my {inbox|timeline|kitchen} is a disaster {today|again|lol}",
    "this {song|album|mixtape} is {pure fire|on fire}, {been on repeat|listen now}",
    "flooded with {emails|homework|memories} {since monday|right now}, send {coffee|help}",
    "{he|she} {crashed|burned} at the {quiz|exam|party} and I {cannot stop laughing|felt that}",
    "that {episode|season|trailer} was an {earthquake|explosion} of feelings",
    "{watching|just watched} a film about a {flood|plane crash|tornado}, {so good|cried}",
    "new phone who dis, old one {went up in smoke|crashed} {lol|after number updates}",
    "taking {place} by storm {next week|with the band}, {tickets out now|who is coming}?",
    "{coach|boss} was in flames today because I was {late|number minutes late}",
    "the {sale|concert} in {place} was a {stampede|riot}, got {number} pairs of shoes",
    "{brainstorm|storm in a teacup} at work again, {number} meetings {before lunch|today}",
    "I {survived|am a wreck after} {leg day|monday|number hours of class}",
    "{landslide|thunder} by my favourite band {live in place|came on the radio}, "
    "{goosebumps|crying}",
    "who needs power when you have {candles|pizza} in {place}, date night {goals|sorted}",
)
PLACES = (
    "Oakdale",
    "Riverton",
    "Brookfield",
    "Milltown",
    "Ashford",
    "Kingsport",
    "Lakeview",
    "Hillcrest",
    "Westbury",
    "Marlow",
    "Stonebridge",
    "Fairview",
    "Elmwood",
    "Harlow",
    "Eastgate",
    "Norfield",
)
USERS = ("@sam_k", "@nina88", "@the_real_jo", "@citynews", "@mo", "@lena_b")
TAGS = ("#breaking", "#lol", "#news", "#mood", "#monday", "#weather", "#fire", "#storm")
ENDS = (
    "!!",
    "...",
    ":(",
    ":)",
    "smh",
    "omg",
    "http://t.example/a1b2",
    "http://t.example/zz9",
    "🔥",
    "😭",
)


def tweets(
    split: str, count: int, seen: set[str], draw: random.Random, label_noise: float
) -> Iterator[tuple[str, int]]:
    """New texts with their class, half of each class before labels are spoilt.

    Half the texts of dev and of test are made from frames that no other split has.
    """
    made = 0
    while made < count:
        label = made % 2
        frames = frames_of(split, REPORTS if label else OTHERS, unseen=draw.random() < 0.5)
        text = noisy(filled(draw.choice(frames), draw), draw)
        if text in seen:
            continue
        seen.add(text)
        made += 1
        yield text, 1 - label if draw.random() < label_noise else label


def frames_of(split: str, frames: Sequence[str], *, unseen: bool) -> Sequence[str]:
    """The frames that a split may draw from."""
    if split == "train" or not unseen:
        return frames[: -2 * UNSEEN]
    return frames[-2 * UNSEEN : -UNSEEN] if split == "dev" else frames[-UNSEEN:]


def filled(frame: str, draw: random.Random) -> str:
    """A frame with its choices made and its names and numbers put in."""
    text = re.sub(r"\{([^{}]*\|[^{}]*)\}", lambda match: draw.choice(match[1].split("|")), frame)
    text = re.sub(r"\{?\bplace\b\}?", lambda _: draw.choice(PLACES), text)
    return re.sub(r"\{?\bnumber\b\}?", lambda _: str(draw.randint(2, 40)), text)


def noisy(text: str, draw: random.Random) -> str:
    """Text as it is typed in a hurry."""
    words = [misspelt(word, draw) if draw.random() < 0.12 else word for word in text.split()]
    if draw.random() < 0.3:
        words.insert(0, draw.choice(USERS))
    if draw.random() < 0.4:
        words.append(draw.choice(TAGS))
    if draw.random() < 0.5:
        words.append(draw.choice(ENDS))
    text = " ".join(words)
    style = draw.random()
    if style < 0.35:
        text = text.lower()
    elif style < 0.42:
        text = text.upper()
    return text


def misspelt(word: str, draw: random.Random) -> str:
    """A word with two letters swapped, one left out, or one repeated."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = draw.randrange(1, len(word) - 1)
    kind = draw.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] * draw.randint(3, 5) + word[at + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=Path(__file__).parent / "samples" / "tweets", type=Path)
    parser.add_argument("--label_noise", type=float, default=0.04)
    options = parser.parse_args()
    if not 0 <= options.label_noise <= 0.5:
        parser.error(f"got --label_noise {options.label_noise}; wanted 0 to 0.5")
    options.out.mkdir(parents=True, exist_ok=True)
    draw, seen = random.Random(options.seed), set[str]()
    for split, size in SIZES.items():
        rows = list(tweets(split, size, seen, draw, options.label_noise))
        draw.shuffle(rows)
        with open(options.out / f"{split}.csv", "w", encoding="utf-8", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(["id", "text", "target"])
            for number, (text, label) in enumerate(rows):
                writer.writerow([f"{split}-{number}", text, label])
        print(f"{options.out / split}.csv: {size} texts")


if __name__ == "__main__":
    main()
