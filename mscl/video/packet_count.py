"""Packets that went into a decoder against frames that came out: a decoder may drop frames without an error."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

_ONE_PACKET_A_PICTURE = ("h264", "hevc")
_NOT_CODED_BYTES = 19
"""MPEG-4 says with so few bytes that a picture is the one before, and then gives none: FFmpeg's MAX_NVOP_SIZE."""


@dataclass
class PacketCount:
    """What went into the decoder, to be compared with the frames that came out."""

    codec: str
    seen: int = 0
    hidden: int = 0
    """Packets that are not meant to give a frame."""
    refused: int = 0
    first_refusal: str = ""

    def add(self, packet: "Packet[Any]", num_frames: int) -> None:
        """A packet that the decoder took, and how many frames it gave then."""
        self.seen += 1
        if packet.is_discard:
            self.hidden += 1
        elif self.codec in ("vp8", "libvpx"):
            # Pictures that are only referred to have packets of their own, in which the bit "show frame" is 0.
            self.hidden += not memoryview(packet)[0] & 0x10
        elif self.codec == "mpeg4":
            self.hidden += packet.size <= _NOT_CODED_BYTES and num_frames == 0

    def refuse(self, message: str) -> None:
        """A packet that the decoder did not take."""
        self.seen += 1
        self.refused += 1
        self.first_refusal = self.first_refusal or message

    def lost(self, num_frames: int, *, interlaced: bool) -> str:
        """How many frames are not there, and why; "" where none is."""
        expected = self.seen - self.hidden
        lost = expected - num_frames
        if self.refused:
            packets = f"{self.refused} packet{'s' * (self.refused > 1)}"
            why = f"the decoder refuses {packets}, the first: {self.first_refusal}"
            return f"{lost} of {expected} frames are lost: {why}" if lost > 0 else ""
        if interlaced and 2 * num_frames >= expected:
            return ""  # the two fields of a picture may come in a packet each
        # Other codecs have more kinds of packets without a picture than are known here.
        allowed = 0.0 if self.codec in _ONE_PACKET_A_PICTURE else max(3, 0.02 * expected)
        return f"{lost} of {expected} frames are lost: the decoder drops them in silence" if lost > allowed else ""
