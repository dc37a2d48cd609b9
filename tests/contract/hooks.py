"""Keeps generated requests short, and legal where a schema cannot say what is."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    # A long poll of a minute shows nothing that one of 20 ms does not.
    wait = (case.query or {}).get("wait_ms")
    if isinstance(wait, int) and not isinstance(wait, bool) and 20 < wait <= 60_000:
        case.query["wait_ms"] = 20
    # Streams go on for ever.
    if case.query:
        case.query.pop("follow", None)
        if case.query.get("format") == "sse":
            case.query["format"] = "json"
    if case.headers and "prefer" in case.headers:
        case.headers["prefer"] = "wait=1"
    # It makes texts of headers without looking at their patterns.
    for name in ("if-match", "if-none-match"):
        if case.headers and case.headers.get(name) == "0":
            case.headers[name] = '"0"'
    # A million datagrams to `lo` keep the service busy beside what is tested.
    repeat = case.body.get("repeat") if isinstance(case.body, dict) else None
    if isinstance(repeat, dict) and isinstance(repeat.get("count"), int):
        repeat["count"] = min(repeat["count"], 50)
    # With a JSON body no options are taken in the query, and with a payload as the body one is needed: OpenAPI cannot say
    # either.
    if case.operation.path.startswith("/v1/messages") and case.media_type == "application/json":
        case.query = {}
    elif case.operation.path in ("/v1/messages", "/v1/messages/{id}") and case.media_type:
        case.query = {"group": "239.1.2.3:10000"} | (case.query or {})
