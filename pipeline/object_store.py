"""The object store of a data root, `<root>/store.toml`: named bytes in an S3-compatible bucket, or in a folder by the same calls.

The library is obstore (Rust's object_store): it retries, sends large objects in parts and aborts those it cannot finish. Here is
how long it may try, how much memory it may take, and the sentence for everything that can go wrong. Raw answers of a store are
never shown: some repeat what was signed. Nothing here deletes, and nothing that is there is replaced unless it is asked for.
"""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline.errors import PipelineError
from pipeline.settings import StoreSettings, read_store

PART_BYTES = 8 << 20
"""Of an upload and of a download: what is sent again where a connection breaks. A few of them lie in memory at once."""
PARTS_AT_ONCE = 4
MOST_PARTS = 9_000
"""S3 takes 10,000 parts an object; a larger object gets larger parts."""
CONNECT_TIMEOUT = timedelta(seconds=5)
PART_TIMEOUT = timedelta(minutes=2)
RETRIES = 4
RETRY_TIMEOUT = timedelta(minutes=1)
"""After this long no request is tried once more, so that a store that is away is said within one to three minutes."""
DIGEST = "sha256"
"""Name of the metadata field that says an object's digest."""


class StoreError(PipelineError):
    """What a store itself says or does, so that whoever asks for many things need not ask for the next."""


@dataclass(frozen=True)
class ObjectStore:
    """A store that was opened: `address` is how a person knows it, `inner` the library's object, for whoever reads Zarr there."""

    address: str
    inner: Any
    keeps_metadata: bool

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Every object under `folder`, with its size in bytes."""
        import obstore

        with self._asked():
            found = [one for part in obstore.list(self.inner, prefix=folder or None) for one in part]
        return {one["path"]: one["size"] for one in found}

    def read(self, name: str) -> bytes:
        """A small object whole."""
        import obstore

        with self._asked(name):
            return bytes(obstore.get(self.inner, name).bytes())

    def pieces(self, name: str, size: int) -> Iterator[memoryview]:
        """An object of `size` bytes, in order: some parts at once, and the next ones on their way while these are used."""
        import obstore

        def ask(start: int) -> list[memoryview]:
            starts = list(range(start, min(size, start + step), PART_BYTES))
            stops = [min(size, one + PART_BYTES) for one in starts]
            with self._asked(name):
                found = obstore.get_ranges(self.inner, name, starts=starts, ends=stops, coalesce=0)
            return [memoryview(one) for one in found]

        if size == 0:
            return
        step = PART_BYTES * PARTS_AT_ONCE
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(ask, 0)
            for start in range(0, size, step):
                here = coming.result()
                if start + step < size:
                    coming = ahead.submit(ask, start + step)
                yield from here

    def said_digest(self, name: str) -> str | None:
        """The hex SHA-256 that an object was written with; None where the store keeps no such thing."""
        import obstore

        if not self.keeps_metadata:
            return None
        with self._asked(name):
            return obstore.get(self.inner, name, options={"head": True}).attributes.get(DIGEST)

    def write(self, name: str, pieces: Iterator[bytes], size: int, sha256: str) -> None:
        """Write an object of `size` bytes in one step. What `pieces` raises aborts it: then nothing of it is seen."""
        import obstore

        with self._asked(name):
            obstore.put(
                self.inner,
                name,
                b"".join(pieces) if size <= PART_BYTES else pieces,
                attributes=self._attributes(sha256),
                chunk_size=max(PART_BYTES, -(-size // MOST_PARTS)),
                max_concurrency=PARTS_AT_ONCE,
            )

    def create(self, name: str, data: bytes, sha256: str) -> bool:
        """Write a small object where none of its name is; False where there is one, which stays as it was."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asked(name):
            try:
                obstore.put(self.inner, name, data, attributes=self._attributes(sha256), mode="create")
            except AlreadyExistsError:
                return False
        return True

    def settle(self) -> None:
        """Wait until a folder's files are on its disk; an object store answers when they are."""
        if not self.keeps_metadata:
            os.sync()

    def _attributes(self, sha256: str) -> dict[str, str] | None:
        return {DIGEST: sha256} if self.keeps_metadata else None

    @contextmanager
    def _asked(self, name: str = "") -> Iterator[None]:
        """Turn what the library raises into a sentence; what the caller's own pieces raise passes as it is."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise StoreError(_sentence(self.address, name, error)) from None


def open_object_store(root: Path, keys: Mapping[str, str] | None = None, *, inside: str = "") -> ObjectStore:
    """The object store that `<root>/store.toml` names; nothing is asked of it yet.

    `keys` are access_key_id, secret_access_key and perhaps session_token; None takes the usual AWS variables. `inside` names a
    folder of the store to begin in, as whoever opens a Zarr there does. Raises PipelineError where no store is named, it has no
    keys, its folder is not there or the library is not installed.
    """
    settings = read_store(root)
    if settings is None:
        raise PipelineError(
            f'{root} has no object store; write `address = "s3://BUCKET/PREFIX"` into {root / "store.toml"} (docs/store.md).'
        )
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise PipelineError("An object store needs obstore; install it with `pip install 'maepose[store]'`.") from None
    address = settings.address.rstrip("/") + (f"/{inside}" if inside else "")
    if address.startswith("file:"):
        folder = Path(unquote(urlparse(address).path))
        if not folder.is_dir():
            raise PipelineError(f"The folder {folder} of the store is not there; mount it, or make it.")
        return ObjectStore(address, obstore.store.LocalStore(folder), keeps_metadata=False)
    try:
        inner = obstore.store.from_url(
            address,
            config=_config(settings, keys),
            client_options={
                "allow_http": _endpoint(settings).startswith("http://"),
                "connect_timeout": CONNECT_TIMEOUT,
                "timeout": PART_TIMEOUT,
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT},
        )
    except obstore.exceptions.BaseError as error:
        raise StoreError(_sentence(address, "", error)) from None
    return ObjectStore(address, inner, keeps_metadata=True)


def _config(settings: StoreSettings, keys: Mapping[str, str] | None) -> Any:
    wanted = dict(keys or {}) | {"endpoint": settings.endpoint, "region": settings.region}
    wanted["checksum_algorithm"] = "SHA256" if settings.checksums else None
    return {name: value for name, value in wanted.items() if value}


def _endpoint(settings: StoreSettings) -> str:
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return settings.endpoint or environment


def _sentence(address: str, name: str, error: Exception) -> str:
    """What went wrong, by the store's own error code where it sent one, else by what the library says."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    found = re.search(r"<Code>(\w+)</Code>", text)
    code = found[1] if found else ""
    what = f" {name}" if name else ""
    if re.search(r"/latest/(api/token|meta-data)|169\.254\.170\.2|Missing\w*AccessKey", text):
        return (
            f"There are no keys for the store {address}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or for flows name a Secret block with keys_block in store.toml."
        )
    if code == "NoSuchBucket":
        return f"The bucket of the store {address} is not there; make it again, or correct the address in store.toml."
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return f"The bucket of the store {address} lies in another region; name it with region in store.toml."
    if code == "RequestTimeTooSkewed":
        return f"The store {address} refuses: this machine's clock differs too much from its own; set the clock."
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or re.search(r"status code: 40[13]\b", text):
        reason = f" ({code})" if code else ""
        return (
            f"The store {address} does not let these keys at{what or ' it'}{reason}; give them the rights to list, read and "
            "write there, or use others (docs/store.md)."
        )
    if isinstance(error, FileNotFoundError):
        return f"The store {address} has no{what or ' such object'}."
    if "error sending request" in text or "HTTP error" in text:
        return (
            f"The store {address} does not answer; look at the network and at the endpoint in store.toml, then start again: "
            "what had arrived is kept."
        )
    status = re.search(r"(status code: \d+)", text)
    system = re.search(r'message: "([^"]+)"', text) if address.startswith("file:") else None
    said = code or next((found[1] for found in (status, system) if found), type(error).__name__)
    return f"The store {address} refused{what}: {said}; start again, what had arrived is kept."
