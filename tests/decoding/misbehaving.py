"""A fork server whose decoders do what a film of one word says, in place of decoding it."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from app.decoding import fork_server
from app.pipeline.exposed_field import ExposedField
from app.pipeline.image import DecodedImage


def decode(film: bytes, **_: object) -> DecodedImage:
    word, _, seconds = film.decode().partition(" ")
    end = time.process_time() + float(seconds or 0)
    while time.process_time() < end:
        pass
    match word:
        case "spin":
            signal.signal(signal.SIGXCPU, signal.SIG_IGN)  # as a decoder that was taken over may
            while True:
                pass
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
    return DecodedImage(np.ones((2, 3), np.float32), ExposedField.whole(2, 3), "dicom")


if __name__ == "__main__":
    fork_server.decode = decode  # type: ignore[assignment]
    fork_server.main(sys.argv[1:])
