"""Looks at a file of weights that a stranger named, before anything is read from it.

torch's weights-only unpickler runs no code, but it calls what it knows with what the file says, and
a small file may say a lot: `bytearray` of a terabyte, or a tensor of a terabyte over one number. So
of a pickle only what describes plain tensors is let through.
"""

import pickletools
import zipfile
from pathlib import Path

from models.errors import WeightsError

MOST_PICKLE_BYTES = 2**24
"""Of the table of tensors; that of the largest known checkpoints has a tenth."""
TYPES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
KNOWN = {
    "collections OrderedDict",
    "__builtin__ set",  # of the names of a module's parameters
    "torch Size",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    "torch.nn.modules.container ParameterDict",
    "torch.storage UntypedStorage",
    *(f"torch {each}Storage" for each in TYPES),
}
"""What a table of tensors is made of."""
BY_NAME = "GLOBAL"
OTHERWISE = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""Opcodes that name or make things in ways that torch does not write."""


def check_foreign(path: Path) -> None:
    """Refuse a pickle that could do more than hold tensors; safetensors can't.

    Raises:
        WeightsError: It could, or it is damaged; says what was found.
    """
    if path.suffix == ".safetensors":
        return
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            (table,) = [each for each in archive.namelist() if each.split("/")[-1] == "data.pkl"]
            if archive.getinfo(table).file_size > MOST_PICKLE_BYTES:
                raise WeightsError(f"{path} has a table of tensors that is too large to be one")
            _check_table(path, archive.read(table))
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as exc:
        raise WeightsError(f"{path} is damaged, or no file of torch's: {exc}") from exc


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would grow when it is read.

    Raises:
        WeightsError: A member is compressed, or they share their bytes.
    """
    if any(each.compress_type != zipfile.ZIP_STORED for each in members):
        raise WeightsError(f"{path} is a compressed archive, which torch does not write")
    if sum(each.file_size for each in members) > path.stat().st_size:
        raise WeightsError(f"{path} is an archive that says it holds more than it does")


def _check_table(path: Path, table: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(table):
        if opcode.name in OTHERWISE or (opcode.name == BY_NAME and argument not in KNOWN):
            named = str(argument).replace(" ", ".") if argument else opcode.name
            raise WeightsError(
                f"{path} holds more than tensors ({named}) and was not opened; give a safetensors "
                "file"
            )
