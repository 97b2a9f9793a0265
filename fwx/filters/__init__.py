"""The filters that ship. Each uses :mod:`fwx.sdk` alone, like everybody's."""
