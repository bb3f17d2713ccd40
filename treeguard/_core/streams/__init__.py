"""The pipes between an asyncio program and a child's standard streams. A child without pipes needs none of it."""
