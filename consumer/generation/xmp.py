"""The mark that says to other programs that a picture was made by a model: IPTC's digital source type, as XMP."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

__all__ = ["packet"]

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    dc:identifier={identifier}
    xmp:CreatorTool={tool}
    Iptc4xmpExt:DigitalSourceType={source_type}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def packet(identifier: str, tool: str, *, composite: bool) -> bytes:
    """An XMP packet. ``composite``: only parts of the picture were made, the rest is somebody's.

    The terms are IPTC's: https://cv.iptc.org/newscodes/digitalsourcetype/
    """
    name = "compositeWithTrainedAlgorithmicMedia" if composite else "trainedAlgorithmicMedia"
    return _PACKET.format(
        identifier=quoteattr(identifier), tool=quoteattr(tool), source_type=quoteattr(_SOURCE_TYPES + name)
    ).encode()
