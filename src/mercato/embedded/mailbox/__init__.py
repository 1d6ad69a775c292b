"""A mailbox for development: takes every mail by SMTP and shows it, in the shape of Mailpit."""
