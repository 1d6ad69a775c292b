"""What the user service keeps in MongoDB."""

from mercato.user.repository import attempts, oauth, sessions, trail, users

SHAPES = users.SHAPES | trail.SHAPES | attempts.SHAPES | sessions.SHAPES | oauth.SHAPES
