"""What the scripted server remembers: conversations in the shapes of the real one, in a dictionary."""

import time
from typing import Any

PAGE = 50
HOUR = 3_600_000


class Records:
    """Conversations by id, the newest last."""

    def __init__(self) -> None:
        self.conversations: dict[str, dict[str, Any]] = {}
        self._count = 0
        self._removed: dict[str, tuple[str, list[dict[str, Any]]]] = {}  # what there was before a message was deleted

    def add(self, title: str, *texts: str, hours_ago: float = 0, **more: Any) -> str:
        """Store a conversation of questions and answers; its id."""
        id = self._create(title)
        found = self.conversations[id]
        for at, text in enumerate(texts):
            parent = found["messages"][-1]["id"] if at else None
            self._message(id, parent, "assistant" if at % 2 else "user", text)
        found["updated"] -= int(hours_ago * HOUR)
        found.update(more)
        return id

    def branch(self, id: str, parent: str, answer: str) -> None:
        """Another answer to a question that is stored."""
        self._message(id, parent, "assistant", answer)

    def begin(self, body: dict[str, Any], held: list[dict[str, Any]]) -> dict[str, Any]:
        """What POST /api/runs stores; a question holds what is `held`."""
        if "continues" in body:
            return self._reopen(body["conversation_id"], body["continues"])
        id = body["conversation_id"] or self._create(body["content"].split("\n")[0][:60])
        if "settings" in body:
            self.conversations[id]["settings"] = body["settings"]
        question = body["parent_id"]
        if "content" in body:
            question = self._message(id, body["parent_id"], "user", body["content"])
            self._find(id, question)["attachments"] = held
        answer = self._message(id, question, "assistant", "", status="running")
        run = f"r-{answer}"
        self._find(id, answer)["run_id"] = run
        self._touch(id)
        return {"run_id": run, "conversation_id": id, "message_id": question, "answer_id": answer}

    def finish(self, id: str, answer: str, told: list[tuple[str, dict[str, Any]]]) -> None:
        """Keep an answer as its events made it."""
        message = self._find(id, answer)
        for key, name in (("content", "delta"), ("reasoning", "reasoning")):
            message[key] = ""
            for event, data in told:
                if event == "snapshot":
                    message[key] = data[key]
                elif event == name:
                    message[key] += data["t"]
        message["usage"] = next((data for event, data in told if event == "usage"), None)
        event, data = told[-1]
        message["finish_reason"] = data.get("finish_reason")
        message["error"] = data if event == "error" else None
        stopped = "stopped" if message["finish_reason"] == "stopped" else "complete"
        message["status"] = "error" if event == "error" else stopped
        message["run_id"] = None
        self._touch(id)

    def _reopen(self, id: str, answer: str) -> dict[str, Any]:
        """Let an answer go on."""
        message = self._find(id, answer)
        message.update(status="running", run_id=self._new(f"r-{answer}"))
        self._touch(id)
        run = message["run_id"]
        return {"run_id": run, "conversation_id": id, "message_id": message["parent_id"], "answer_id": answer}

    def text_of(self, id: str, answer: str) -> dict[str, str]:
        """All that is stored of an answer, as a `snapshot` tells it."""
        message = self._find(id, answer)
        return {key: message[key] for key in ("content", "reasoning")}

    def interrupt(self) -> None:
        """No running answer will ever be whole."""
        for found in self.conversations.values():
            for message in found["messages"]:
                if message["status"] == "running":
                    error = {"code": "interrupted", "message": "the server stopped", "retryable": True}
                    message.update(status="interrupted", run_id=None, error=error)

    def page(self, query: str, cursor: str, deleted: bool) -> dict[str, Any]:
        """Fifty heads; those that have `query` with an excerpt."""
        heads = [self._head(found, query) for found in self.conversations.values() if bool(found["deleted"]) == deleted]
        heads = [head for head in heads if not query or head["snippet"]]
        heads.sort(key=lambda head: (head["pinned"], head["updated"]), reverse=True)
        start = int(cursor or 0)
        more = str(start + PAGE) if len(heads) > start + PAGE else None
        return {"conversations": heads[start : start + PAGE], "next": more}

    def get(self, id: str) -> dict[str, Any] | None:
        """The whole conversation."""
        return self.conversations.get(id)

    def change(self, id: str, change: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of a PATCH."""
        found = self.conversations[id]
        if change.pop("version", found["version"]) != found["version"]:
            error = {"message": "stale", "type": "conflict", "param": "version", "code": "stale"}
            return 409, {"error": error, "current": found}
        found.update(change)
        found["version"] += 1
        return 200, self._head(found, "") | {"messages": found["messages"], "settings": found.get("settings")}

    def delete(self, id: str) -> None:
        """Until it is restored."""
        self.conversations[id]["deleted"] = 1
        self.conversations[id]["version"] += 1

    def delete_all(self) -> int:
        """All of them; how many."""
        for found in self.conversations.values():
            found["deleted"] = 1
            found["version"] += 1
        return len(self.conversations)

    def restore(self, id: str) -> dict[str, Any]:
        """Undo a deletion."""
        self.conversations[id]["deleted"] = None
        self.conversations[id]["version"] += 1
        return self.conversations[id]

    def delete_message(self, id: str, message: str) -> dict[str, Any]:
        """Delete a message with what follows; an only answer with its question. The conversation is left."""
        found, doomed = self.conversations[id], {message}
        one = self._find(id, message)
        if one["role"] == "assistant" and sum(m["parent_id"] == one["parent_id"] for m in found["messages"]) == 1:
            doomed.add(one["parent_id"])
        for other in found["messages"]:
            if other["parent_id"] in doomed:
                doomed.add(other["id"])
        self._removed[message] = id, list(found["messages"])
        found["messages"] = [m for m in found["messages"] if m["id"] not in doomed]
        self._touch(id)
        return found

    def restore_message(self, id: str, message: str) -> dict[str, Any]:
        """Undo that."""
        self.conversations[id]["messages"] = self._removed.pop(message)[1]
        self._touch(id)
        return self.conversations[id]

    def removed(self) -> list[dict[str, Any]]:
        """The messages that were deleted, the newest first."""
        found: list[dict[str, Any]] = []
        for gone, (id, messages) in reversed(self._removed.items()):
            text = next(message["content"] for message in messages if message["id"] == gone)
            head = {"id": gone, "conversation_id": id, "title": self.conversations[id]["title"]}
            found.append(head | {"snippet": [{"t": text, "hit": False}]})
        return found

    def _create(self, title: str) -> str:
        id, now = self._new("c"), int(time.time() * 1000)
        self.conversations[id] = {"id": id, "title": title, "version": 1, "pinned": False, "created": now}
        self.conversations[id] |= {"updated": now, "deleted": None, "snippet": None, "messages": []}
        return id

    def _message(self, id: str, parent: str | None, role: str, content: str, status: str = "complete") -> str:
        messages = self.conversations[id]["messages"]
        message = {"id": self._new("m"), "seq": len(messages) + 1, "parent_id": parent, "role": role}
        message |= {"content": content, "status": status, "reasoning": "", "usage": None, "error": None}
        messages.append(message | {"finish_reason": None, "run_id": None, "model": None})
        return str(message["id"])

    def _find(self, id: str, message: str) -> dict[str, Any]:
        found: dict[str, Any] = next(m for m in self.conversations[id]["messages"] if m["id"] == message)
        return found

    def _touch(self, id: str) -> None:
        self.conversations[id]["version"] += 1
        self.conversations[id]["updated"] = int(time.time() * 1000)

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def _head(self, found: dict[str, Any], query: str) -> dict[str, Any]:
        head = {key: value for key, value in found.items() if key != "messages"}
        for text in (found["title"], *(message["content"] for message in found["messages"])):
            if query and query in text:
                before, _, after = text.partition(query)
                head["snippet"] = [
                    {"t": before[-40:], "hit": False},
                    {"t": query, "hit": True},
                    {"t": after[:40], "hit": False},
                ]
        return head
