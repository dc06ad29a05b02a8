"""Where films are decoded: in threads, or each in a process of its own that its decoder may crash, fill or hang.

    bytes -> Decoders -> threads (PNG, JPEG, uncompressed DICOM)                       -> DecodedImage -> tensor
                      -> DecodePool -> fork server -> fork -> one film decoded (compressed DICOM) ^

A PNG or JPEG of many pixels in few bytes is decoded in a process too.

``exchange`` is how a film goes in and its pixels come out. Nothing is imported here, so that a decoding process needs no
torch.
"""
