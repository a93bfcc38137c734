"""A real S3 server on loopback, which remembers what was asked of it and can be busy for a while."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KEY_ID, SECRET = "AKIDOFTHETEST", "secret-of-the-test"
BUCKET = "dataset"


class S3Server:
    """The server; `url` is what AWS_ENDPOINT_URL is set to."""

    def __init__(self) -> None:
        # Here: they take seconds to import, and every worker of pytest-xdist imports all test files.
        import boto3
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_: object) -> None: ...

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.asked: list[tuple[str, str]] = []
        """Method and path with query of each request."""
        self.busy = 0
        """So many requests from now on are answered by 503."""
        self.videos_left = 1_000_000
        """So many videos are given whole; after them all is answered by 503."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.client = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.client.create_bucket(Bucket=BUCKET)

    def upload(self, folder: Path, prefix: str) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix}/{path.relative_to(folder)}"
            self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL="public-read")

    def fetched(self) -> list[str]:
        """Names of the videos that were read whole since this was asked last."""
        asked, self.asked = self.asked, []
        return sorted(path.rpartition("/")[2] for method, path in asked if method == "GET" and path.endswith(".mp4"))

    def begin_again(self) -> None:
        """As if it had just started: empty, and nothing was asked."""
        for one in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            self.client.delete_object(Bucket=BUCKET, Key=one["Key"])
        self.busy, self.videos_left, self.asked = 0, 1_000_000, []

    def variables(self) -> dict[str, str]:
        """What this process and its children find it by."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_part = "HTTP_RANGE" in environ
        query = environ["QUERY_STRING"] or ("part" if is_part else "")
        self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"] + (f"?{query}" if query else "")))
        self.videos_left -= environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".mp4") and not is_part
        if self.busy > 0 or self.videos_left < 0:
            self.busy -= 1
            start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>Please try again</Message></Error>"]
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer
