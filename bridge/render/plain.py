"""An event as a few lines for a terminal or a log."""

from __future__ import annotations

from bridge.render.story import Fields, tell


def plain_text(fields: Fields) -> str:
    """Write an event for a terminal: a few lines, no markup, no control characters but newlines."""
    story = tell(fields)
    lines = [f"{story.look.emoji} {story.headline}"]
    lines += [f"   {name}: {value}" for name, value in story.facts]
    for detail in story.details:
        lines += [f"   - {detail.where}"] if detail.where else []
        lines += [f"       {line}" for line in detail.message.splitlines()]
    lines += [f"   {line}" for line in (story.more, *story.notes, story.link or "") if line]
    return "\n".join(lines)
