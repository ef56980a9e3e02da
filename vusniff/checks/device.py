"""Rules about device status, configuration space and crypto sessions."""

from __future__ import annotations

from vusniff.amounts import counted
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, Said, Sayings, Severity, Side
from vusniff.checks.limits import CONFIG_BYTES
from vusniff.checks.peers import Implementation
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import FrontendRequest

F = FrontendRequest

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, SUSPEND, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x10, 0x40, 0x80
AFTER_OK = SUSPEND | NEEDS_RESET | FAILED
"""Status bits that may come after DRIVER_OK."""
CONFIG_HEADER = 12


def status_grows(step: Step) -> Sayings:
    """A device status has 8 bits, and bits are only added until 0 is written

    DEVICE_NEEDS_RESET is the device's own bit and may be missing in what the driver writes.
    """
    value, last = step.values["u64"], step.memory.status_written
    if value > 0xFF:
        return (Said(f"SET_STATUS writes {value:#x}; a status has 8 bits, and DPDK refuses more"),)
    lost = last.value & ~value & ~NEEDS_RESET if last else 0
    if not value or not lost or last is None:
        return FINE
    return (Said(f"SET_STATUS writes {value:#x} and drops {lost:#x} of {last.value:#x} without a reset", (last.by,)),)


def status_order(step: Step) -> Sayings:
    """FEATURES_OK comes after SET_FEATURES, and DRIVER_OK last

    QEMU adds ACKNOWLEDGE and DRIVER together with DRIVER_OK, which is fine.
    """
    value, last = step.values["u64"], step.memory.status_written
    new = value & ~(last.value if last else 0)
    if new & FEATURES_OK and step.before.features is None and step.memory.complete:
        return (Said(f"SET_STATUS writes {value:#x} with FEATURES_OK before SET_FEATURES"),)
    if last and last.value & DRIVER_OK and value & DRIVER_OK and new & ~AFTER_OK:
        return (Said(f"SET_STATUS adds {new:#x} after DRIVER_OK", (last.by,)),)
    return FINE


def gave_up(step: Step) -> Sayings:
    """No device status says FAILED or NEEDS_RESET

    The driver writes FAILED when it gives the device up, the device sets NEEDS_RESET when it cannot go on.
    """
    value, message, before = step.values["u64"], step.message, step.before.status
    if not message.reply:
        last = step.memory.status_written
        if not value & FAILED or (last is not None and last.value & FAILED):
            return FINE
        return (Said(f"SET_STATUS writes {value:#x}, which has FAILED: the driver has given the device up"),)
    known = before.value if before is not None else 0
    if value & NEEDS_RESET and not known & NEEDS_RESET:
        return (Said(f"GET_STATUS said {value:#x}, which has NEEDS_RESET: the device cannot go on", side=Side.BACKEND),)
    written = step.memory.status_written
    if value & FAILED and not known & FAILED and not (written is not None and written.value & FAILED):
        return (Said(f"GET_STATUS said {value:#x}, which has FAILED, and nobody wrote that", side=Side.BACKEND),)
    return FINE


def config_reply(step: Step) -> Sayings:
    """The reply to GET_CONFIG has the size of the request, or zero length on error

    The length that counts may be that of the message (libvhost-user, DPDK) or the size field (rust-vmm, which keeps
    the 12 bytes before the configuration): both are taken as an error's form.
    """
    request, message = step.request, step.message
    if request is None or message.size == request.size or message.size == 0:
        return FINE
    if step.values.get("size") == 0 and message.size == CONFIG_HEADER:
        return FINE
    asked, came = counted(request.size, "byte"), counted(message.size, "byte")
    words = f"GET_CONFIG (#{request.number}) of {asked} was answered with {came}"
    return (Said(words, (request.number,)),)


def config_size(step: Step) -> Sayings:
    """The size of a config access equals the bytes that follow, and is 256 at most"""
    message, size = step.message, step.values.get("size")
    if size is None:
        return FINE
    follow = message.size - CONFIG_HEADER
    kind = "reply to " if message.reply else ""
    if follow < 0:
        return FINE  # it has no configuration at all, which the rule about payload sizes says
    if size != follow:
        return (Said(f"{kind}{message.name} says size {size}, and {follow} bytes follow"),)
    most = CONFIG_BYTES.of(step.memory.backend)
    if size > most:
        return (Said(f"{kind}{message.name} has {size} bytes; QEMU, libvhost-user and DPDK take 256"),)
    return FINE


CONFIG_SPACE = 4096


def config_wraps(step: Step) -> Sayings:
    """A config access stays within the 4096 bytes that a configuration space may have"""
    offset, size = step.values.get("offset"), step.values.get("size")
    if offset is None or size is None or offset + size <= CONFIG_SPACE:
        return FINE
    more = " and wraps" if offset + size > 1 << 32 else ""
    return (
        Said(
            f"{step.message.name} of {size} bytes at {offset:#x} goes beyond the {CONFIG_SPACE} bytes of a "
            f"configuration space{more}; rust-vmm refuses it"
        ),
    )


def mtu_range(step: Step) -> Sayings:
    """An MTU is 68 to 65535"""
    mtu = step.values["u64"]
    if 68 <= mtu <= 65535:
        return FINE
    return (Said(f"NET_SET_MTU sets {mtu}; 68 to 65535 are possible, and DPDK refuses others"),)


KEY_ROOM = (
    *(
        (form, length, room)
        for form in ("sym", "sym_of_cipher")
        for length, room in (("key_len", 64), ("auth_key_len", 512))
    ),
    ("asym", "keylen", 1024),
)
"""Where a length of CREATE_CRYPTO_SESSION stands, its name, and the bytes of its key's field."""


def crypto_key_length(step: Step) -> Sayings:
    """Key lengths of a crypto session are those of keys that have room in their fields"""
    for union, length, room in KEY_ROOM:
        told = (step.values.get(union) or {}).get(length, 0)
        if told > room:
            return (Said(f"{step.message.name} has {length} {told}; its field has {room} bytes"),)
    return FINE


def config_refused(step: Step) -> Sayings:
    """GET_CONFIG is answered with the configuration"""
    if step.request is None or (step.message.size and step.values.get("size") != 0):
        return FINE
    if step.asked and step.asked.get("size") == 0:
        return FINE
    return (
        Said(
            f"{step.memory.backend} answers GET_CONFIG (#{step.request.number}) with an error"
            + (
                "; QEMU's block devices do not come up then" if step.memory.frontend.may_be(Implementation.QEMU) else ""
            ),
            (step.request.number,),
        ),
    )


BIT_SETS = (Implementation.RUST_VMM, Implementation.CROSVM, Implementation.CLOUD_HYPERVISOR)


def config_flags(step: Step) -> Sayings:
    """Flags of a config access mean the same to both sides

    0 is a normal access and 1 is live migration by the specification; rust-vmm and crosvm have a set of bits instead,
    1 writable and 2 migration. Reading is not affected, so it is a note there.
    """
    flags, message = step.values.get("flags"), step.message
    if not flags or message.sender is not Sender.FRONTEND:
        return FINE
    memory = step.memory
    reads = Severity.NOTE if message.request == F.GET_CONFIG else None
    if flags > 1:
        return (
            Said(f"{message.name} has flags {flags:#x}; there are 0 and 1 (2 is rust-vmm's migration)", severity=reads),
        )
    if memory.backend.program in BIT_SETS and memory.frontend.program not in BIT_SETS:
        words = f"{message.name} has flags 1 (migration), which {memory.backend} takes for a writable field"
        return (Said(words, severity=reads),)
    if memory.frontend.program in BIT_SETS and memory.backend.program not in BIT_SETS:
        words = (
            f"{memory.frontend} means writable by flags 1 of {message.name}, which is migration by the specification"
        )
        return (Said(words, severity=reads),)
    return FINE


def crypto_close(step: Step) -> Sayings:
    """CLOSE_CRYPTO_SESSION names a session that was created"""
    number = step.values["u64"]
    if number in step.before.crypto_sessions:
        return FINE
    return (Said(f"CLOSE_CRYPTO_SESSION names session {number}, which CREATE_CRYPTO_SESSION did not return"),)
