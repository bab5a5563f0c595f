"""Prompts as people write them for Stable Diffusion: tags, weights in brackets, chunks of tokens.

The syntax is that of AUTOMATIC1111's web UI, which the prompts in circulation are written for, down
to its oddities; reference values hold it. Nothing here needs torch or a tokenizer.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

START, END, COMMA = 49406, 49407, 267
"""Tokens of CLIP's BPE; what ends a text also fills it up."""
ROOM = 75
"""Tokens of a chunk, without its start and end."""
BACKTRACK = 20
"""A chunk is cut behind its last comma, if that is no further from its end than this."""
ROUND, SQUARE = 1.1, 1 / 1.1


class Fragment(NamedTuple):
    """A piece of a prompt, and how much attention it is given; 1 is the usual."""

    text: str
    weight: float


BREAK = Fragment("BREAK", -1.0)
"""Ends a chunk. In brackets its weight is multiplied like any other, and it is plain text then."""


class Tag(NamedTuple):
    """What stands in angle brackets, such as `<lora:name:0.5>`.

    Attributes:
        kind: Before the first colon, as written.
        values: The unnamed arguments, in order.
        named: Those of the form `name=value`.
    """

    kind: str
    values: tuple[str, ...]
    named: Mapping[str, str]


_TAG = re.compile(r"<(\w+):([^>]+)>")


def take_tags(prompt: str) -> tuple[str, list[Tag]]:
    """Return a prompt without its tags, the blanks around them left in place, and the tags."""
    tags = [_tag(found[1], found[2].split(":")) for found in _TAG.finditer(prompt)]
    return _TAG.sub("", prompt), tags


def _tag(kind: str, arguments: Sequence[str]) -> Tag:
    parts = [argument.split("=", 2) for argument in arguments]
    return Tag(
        kind=kind,
        values=tuple(arguments[n] for n, each in enumerate(parts) if len(each) != 2),
        named={each[0]: each[1] for each in parts if len(each) == 2},
    )


_SYNTAX = re.compile(
    r"""\\(?P<escaped>[()\[\]\\]?)
    | (?P<open>[(\[])
    | :\s*(?P<weight>[+-]?[.\d]+)\s*\)
    | (?P<close>[)\]])
    | (?P<text>[^\\()\[\]:]+ | :)""",
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def fragments(prompt: str) -> list[Fragment]:
    r"""Part a prompt by the attention that its brackets ask for.

    `(x)` weighs 1.1, `[x]` 1 / 1.1, `(x:1.3)` 1.3, and nested ones their product. A backslash takes
    a bracket's meaning away. Unclosed brackets reach to the end, stray closing ones are text, and
    so is a weight that is no number.
    """
    found: list[Fragment] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for piece in _SYNTAX.finditer(prompt):
        if piece["escaped"] is not None:
            found.append(Fragment(piece["escaped"], 1.0))
        elif piece["open"]:
            opened[piece["open"]].append(len(found))
        elif (factor := _closing(piece, opened)) is not None:
            _weigh(found, opened["[" if piece["close"] == "]" else "("].pop(), factor)
        else:
            found += _parted(piece[0])
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for first in opened[bracket]:
            _weigh(found, first, factor)
    return _merged(found) or [Fragment("", 1.0)]


def _closing(piece: re.Match[str], opened: Mapping[str, Sequence[int]]) -> float | None:
    """Return the factor of the bracket that a piece closes; None where it closes none."""
    if piece["close"] == "]":
        return SQUARE if opened["["] else None
    if not opened["("]:
        return None
    if piece["close"]:
        return ROUND
    return _number(piece["weight"]) if piece["weight"] else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _weigh(found: list[Fragment], first: int, factor: float) -> None:
    found[first:] = [Fragment(each.text, each.weight * factor) for each in found[first:]]


def _parted(text: str) -> Iterator[Fragment]:
    for number, part in enumerate(_BREAK.split(text)):
        if number:
            yield BREAK
        yield Fragment(part, 1.0)


def _merged(found: Sequence[Fragment]) -> list[Fragment]:
    """Join neighbours of equal weight."""
    merged: list[Fragment] = []
    for each in found:
        if merged and merged[-1].weight == each.weight:
            merged[-1] = Fragment(merged[-1].text + each.text, each.weight)
        else:
            merged.append(each)
    return merged


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """A textual inversion's trigger.

    Attributes:
        name: Its file's.
        ids: The tokens that it takes the place of.
        vectors: How many token embeddings it puts there.
    """

    name: str
    ids: tuple[int, ...]
    vectors: int


class Placement(NamedTuple):
    """Where an inversion's vectors go: how many tokens stand before them, the start left out."""

    offset: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What the text encoder reads at once: 77 tokens, start and end included.

    Attributes:
        tokens: 0 where an inversion's vectors go.
        weights: One for each token.
        placements: The inversions.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    placements: tuple[Placement, ...] = ()


@dataclass(kw_only=True)
class _Open:
    """A chunk that is being filled."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    comma: int | None = None
    """Where the last comma stands."""

    @property
    def full(self) -> bool:
        return len(self.tokens) == ROOM

    def add(self, token: int, weight: float, times: int = 1) -> None:
        self.tokens += [token] * times
        self.weights += [weight] * times

    def close(self) -> Chunk:
        rest = ROOM - len(self.tokens)
        return Chunk(
            tokens=(START, *self.tokens, *[END] * rest, END),
            weights=(1.0, *self.weights, *[1.0] * rest, 1.0),
            placements=tuple(self.placements),
        )


def chunks(
    parts: Sequence[Fragment],
    tokenize: Callable[[str], Sequence[int]],
    *,
    inversions: Sequence[Inversion] = (),
    backtrack: int = BACKTRACK,
) -> list[Chunk]:
    """Lay a prompt's tokens out in chunks, at least one.

    Args:
        parts: As `fragments` returns them.
        tokenize: CLIP's BPE of a text, without start, end and limit.
        inversions: What to look for among the tokens; the longest that fits is taken.
        backtrack: Instead of being cut anywhere, a chunk is cut behind its last comma if at most so
            many tokens follow it; 0 cuts anywhere. As upstream has it, an inversion among those
            that move on stays where it was.
    """
    by_length = sorted(inversions, key=lambda each: -len(each.ids))
    done: list[Chunk] = []
    chunk = _Open()
    for part in parts:
        if part == BREAK:
            done.append(chunk.close())
            chunk = _Open()
            continue
        tokens = tuple(tokenize(part.text))
        place = 0
        while place < len(tokens):
            chunk = _room_for(tokens[place], chunk, done, backtrack)
            known = _at(by_length, tokens, place)
            if known is None:
                chunk.add(tokens[place], part.weight)
                place += 1
                continue
            if len(chunk.tokens) + known.vectors > ROOM:
                done.append(chunk.close())
                chunk = _Open()
            chunk.placements.append(Placement(len(chunk.tokens), known.name))
            chunk.add(0, part.weight, known.vectors)
            place += len(known.ids)
    if chunk.tokens or not done:
        done.append(chunk.close())
    return done


def _at(inversions: Sequence[Inversion], tokens: tuple[int, ...], place: int) -> Inversion | None:
    fitting = (each for each in inversions if tokens[place : place + len(each.ids)] == each.ids)
    return next(fitting, None)


def _room_for(token: int, chunk: _Open, done: list[Chunk], backtrack: int) -> _Open:
    """Return the chunk that the next token goes to: the one given, unless that is full."""
    if token == COMMA:
        chunk.comma = len(chunk.tokens)
    if not chunk.full:
        return chunk
    following = _Open()
    near = chunk.comma is not None and ROOM - chunk.comma <= backtrack
    if token != COMMA and near and chunk.comma is not None:
        cut = chunk.comma + 1
        following.tokens, chunk.tokens = chunk.tokens[cut:], chunk.tokens[:cut]
        following.weights, chunk.weights = chunk.weights[cut:], chunk.weights[:cut]
    done.append(chunk.close())
    return following
