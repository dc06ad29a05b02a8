"""Films are decoded in threads, or each in a process of its own, which its decoder may crash, fill or hang.

    bytes -> Decoders -> threads (PNG, JPEG, uncompressed DICOM)                       -> DecodedImage -> tensor
                      -> DecodePool -> fork server -> fork -> one film decoded (compressed DICOM) ^

A PNG or JPEG of many pixels in few bytes is decoded in a process too.

``exchange`` sends a film in and brings its pixels out. This file imports nothing, so that a decoding process needs no torch.
"""
