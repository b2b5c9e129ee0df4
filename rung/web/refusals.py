"""Every error of an application as an answer in one shape."""

from typing import TYPE_CHECKING, Any

from lm.errors import UserError
from rung.web.guard import Refusal

if TYPE_CHECKING:
    from fastapi import FastAPI


def explain_errors(app: "FastAPI") -> None:
    """Make every error an answer in one shape, with a line that says what to mend."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from fastapi.routing import APIRoute
    from starlette.exceptions import HTTPException

    def reply(refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body(), refusal.status, refusal.headers())

    async def refused(_: Request, error: Any) -> JSONResponse:
        return reply(error)

    async def invalid(_: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return reply(Refusal(400, f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"))
        if not isinstance(error.body, dict):
            return reply(Refusal(422, "send a JSON object, with the header Content-Type: application/json"))
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return reply(Refusal(422, f"{place or 'the body'}: {first['msg']}"))

    async def http_error(request: Request, error: Any) -> JSONResponse:
        reason = str(error.detail)
        if error.status_code == 400:  # FastAPI's word for whatever else goes wrong while it parses
            reason = "the body cannot be read as JSON: not UTF-8, or nested too deeply"
        elif error.status_code in (404, 405):
            routes = [route for route in app.routes if isinstance(route, APIRoute)]
            served = [f"{min(route.methods or {'GET'})} {route.path}" for route in routes]
            reason = f"{request.method} {request.url.path[:80]} is not served here; there are {', '.join(served)}"
        return reply(Refusal(error.status_code, reason))

    async def mistake(_: Request, error: Any) -> JSONResponse:
        return reply(Refusal(422, str(error)))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(UserError, mistake)
