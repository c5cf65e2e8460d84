"""What the page talks to: itself as files, runs, conversations, models, login, the dashboard."""
