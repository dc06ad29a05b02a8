"""The codes of the report: those of SNOMED CT and DICOM if the concept is exactly theirs, otherwise those of our own scheme.

SNOMED CT's codes are the concepts with which chest findings are coded in practice. If a label of ChestX-ray14 is
wider or narrower than any code that we are sure of (a "hernia" that was mined from reports may be hiatal,
diaphragmatic or neither), it gets a code of the private scheme 99CXRGATE, which is better than a near miss.
"""

from __future__ import annotations

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from app.pipeline.calls import Call

SCHEME: Final = "99CXRGATE"  # PS3.16 section 8.2: private schemes begin with 99


def coding_scheme() -> CodingSchemeIdentificationItem:
    """The description of the private scheme, for SOP Common (PS3.3 C.12.1.1.6)."""
    return CodingSchemeIdentificationItem(SCHEME, name="cxr-gate", responsible_organization="cxr-gate")


#: Codes by the network's labels; a test compares the two lists.
FINDINGS: Final[dict[str, Code]] = {
    "Atelectasis": Code("46621007", "SCT", "Atelectasis"),
    "Cardiomegaly": Code("8186001", "SCT", "Cardiomegaly"),
    "Effusion": Code("60046008", "SCT", "Pleural effusion"),
    "Infiltration": Code("112121", "DCM", "Infiltrate"),
    "Mass": Code("4147007", "SCT", "Mass"),
    "Nodule": Code("27925004", "SCT", "Nodule"),
    "Pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "Pneumothorax": Code("36118008", "SCT", "Pneumothorax"),
    "Consolidation": Code("95436008", "SCT", "Lung consolidation"),
    "Edema": Code("19242006", "SCT", "Pulmonary edema"),
    "Emphysema": Code("87433001", "SCT", "Pulmonary emphysema"),
    "Fibrosis": Code("51615001", "SCT", "Pulmonary fibrosis"),
    "Pleural_Thickening": Code("PleuralThickening", SCHEME, "Pleural thickening"),
    "Hernia": Code("Hernia", SCHEME, "Hernia"),
}

CHEST_RADIOGRAPHY: Final = Code("399208008", "SCT", "Plain chest X-ray")
RATIO: Final = Code("{ratio}", "UCUM", "ratio")
PRESENT: Final = Code("52101004", "SCT", "Present")  # these three: PS3.16 CID 240
ABSENT: Final = Code("2667000", "SCT", "Absent")
INDETERMINATE: Final = Code("82334004", "SCT", "Indeterminate")
COMMENT: Final = Code("121106", "DCM", "Comment")

PROBABILITY: Final = Code("Probability", SCHEME, "Probability of the finding")
PRESENT_FROM: Final = Code("PresentFrom", SCHEME, "Probability from which the finding is called present")
ABSENT_BELOW: Final = Code("AbsentBelow", SCHEME, "Probability below which the finding is called absent")
CALL: Final = Code("Call", SCHEME, "Call")
NOT_CALLED: Final = Code("NotCalled", SCHEME, "Not called")
#: A finding's call -> its code.
CALLS: Final[dict[Call, Code]] = {
    "present": PRESENT,
    "indeterminate": INDETERMINATE,
    "absent": ABSENT,
    "not called": NOT_CALLED,
}
VERDICT: Final = Code("Verdict", SCHEME, "Verdict of the gate")
ACCEPTED: Final = Code("Accepted", SCHEME, "Accepted")
REJECTED: Final = Code("Rejected", SCHEME, "Rejected as adversarial")
