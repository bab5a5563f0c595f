"""The files of ``enlarger/esrgan``. Torch-free.

Sources: philz1337x/upscaler on the Hugging Face hub, a copy of the community model; Real-ESRGAN's
release v0.1.0 on GitHub (xinntao/Real-ESRGAN), which the operator brings, as a checkpoint of their
own.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

BY_NC_SA = Licence(
    name="CC-BY-NC-SA-4.0", url="https://creativecommons.org/licenses/by-nc-sa/4.0/", free=False
)
BSD = Licence(name="BSD-3-Clause", url="https://opensource.org/license/bsd-3-clause", free=True)
OWN = Licence(name="as the file's author says", url="https://openmodeldb.info", free=True)

NETWORK = "network"
"""The name of the only part."""


def _brought(name: str, licence: Licence) -> File:
    return File(name=name, repository=None, licence=licence)


MANIFEST = Manifest(
    name="esrgan",
    variants=(
        Variant(
            name="ultrasharp",
            parts=(
                Part(
                    name=NETWORK,
                    files=(
                        File(
                            name="4x-UltraSharp.pth",
                            repository="philz1337x/upscaler",
                            licence=BY_NC_SA,
                        ),
                        _brought("4x-UltraSharp.safetensors", BY_NC_SA),
                    ),
                ),
            ),
        ),
        Variant(
            name="realesrgan",
            parts=(Part(name=NETWORK, files=(_brought("RealESRGAN_x4plus.pth", BSD),)),),
        ),
        Variant(
            name="custom",
            parts=(
                Part(
                    name=NETWORK,
                    files=(_brought("custom.safetensors", OWN), _brought("custom.pth", OWN)),
                ),
            ),
        ),
    ),
)
