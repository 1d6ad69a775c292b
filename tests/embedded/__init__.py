"""Tests of the embedded servers, their supervisor, the mailbox and the commands around them."""
