"""An application in FastAPI as it runs anywhere: a plain server listens on a port."""

import asyncio
import os
import statistics

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="Numbers")


class Numbers(BaseModel):
    numbers: list[float] = Field(min_length=1, max_length=10_000)


@app.get("/")
async def read_root() -> dict[str, str]:
    return {"application": app.title, "documentation": "docs"}


@app.post("/summary")
async def summarize(body: Numbers) -> dict[str, float]:
    numbers = body.numbers
    return {
        "count": len(numbers),
        "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers),
        "largest": max(numbers),
    }


@app.get("/countdown/{start}")
async def count_down(start: int) -> StreamingResponse:
    if not 0 <= start <= 10:
        raise HTTPException(status_code=404, detail="it counts from 10 at most")

    async def lines():
        for number in range(start, -1, -1):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(lines(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
