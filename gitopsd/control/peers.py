"""Who is at the other end of the socket, and whether they may order."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct

from gitopsd.model.orders import Peer

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def peer_of(connection: socket.socket, group: str) -> Peer:
    """The user of the process that connected, as the kernel recorded it then."""
    _, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(uid, name_of(uid), is_permitted(uid, gid, group))


def is_permitted(uid: int, gid: int, group: str) -> bool:
    """Root, the daemon's own user, and members of the group: by the process's own group, by the user's primary one, or
    by the list of its members."""
    if uid in {0, os.geteuid()}:
        return True
    wanted = gid_of(group)
    return wanted is not None and (gid == wanted or wanted in _groups(uid))


def permitted_text(group: str) -> str:
    """Who may order, for people."""
    return f"root or a member of the group {group}" if group else "root"


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def gid_of(group: str) -> int | None:
    """The number of a group; None also for a group that the host does not know: nobody is in it."""
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        return None


def _groups(uid: int) -> list[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return []
    return os.getgrouplist(user.pw_name, user.pw_gid)
