"""Manifests of pretended endpoints: one variant each, but for `SPLIT`."""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

FREE = Licence(name="CC0-1.0", url="https://creativecommons.org/publicdomain/zero/1.0/", free=True)


def _file(name: str) -> File:
    return File(name=name, repository="somebody/something", licence=FREE)


def _variant(name: str) -> Variant:
    files = (_file("model.safetensors"), _file("model.pth"))
    return Variant(name=name, parts=(Part(name="net", files=files),))


def _manifest(name: str) -> Manifest:
    return Manifest(name=name, variants=(_variant("only"),))


A, B, C = _manifest("a"), _manifest("b"), _manifest("c")
LENT, HUGE = _manifest("lent"), _manifest("huge")
THERE, MISSING = _manifest("there"), _manifest("missing")
SPLIT = Manifest(
    name="split",
    variants=(
        Variant(
            name="small",
            parts=(
                Part(name="net", files=(_file("small.safetensors"), _file("small.pth"))),
                Part(name="vae", files=(_file("vae.pth"),)),
            ),
        ),
        Variant(
            name="large",
            parts=(
                Part(name="net", files=(_file("large.pth"),)),
                Part(name="vae", files=(_file("vae.pth"),)),
            ),
        ),
    ),
)
