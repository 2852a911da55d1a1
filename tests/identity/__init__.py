"""Tests of sign-in, sessions and factors."""
