"""DICOM JSON (PS3.18 annex F) -> the Native DICOM Model in XML (PS3.19 section A.1), for store clients that read only XML."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def native_xml(dataset: dict[str, Any]) -> bytes:
    """A data set of numbers, texts and sequences as XML in UTF-8. Names and bulk data would need other elements."""
    # The XML has no indentation, since every blank would belong to a value.
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _append(root, dataset)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _append(parent: Element, dataset: dict[str, Any]) -> None:
    creators: dict[str, str] = {}  # group and block -> private creator
    for tag, element in sorted(dataset.items()):
        group, block, last = tag[:4], tag[4:6], tag[6:]
        named = {"tag": tag, "vr": element["vr"]}
        if int(group, 16) % 2 == 0:
            named["keyword"] = keyword_for_tag(int(tag, 16))
        elif block == "00":
            creators[group + last] = element["Value"][0]
        else:
            named |= {"tag": f"{group}00{last}", "privateCreator": creators[group + block]}
        attribute = SubElement(parent, "DicomAttribute", named)
        for number, value in enumerate(element.get("Value", ()), 1):
            if element["vr"] == "SQ":
                _append(SubElement(attribute, "Item", number=str(number)), value)
            else:
                SubElement(attribute, "Value", number=str(number)).text = str(value)
