"""The ASGI door: the middleware in front of an application that talks to models.

=================  =====================================================================================
`middleware`       the door itself: `HighflameMiddleware`, and the way of one request through it
`options`          what it is told when it is made, checked once
`paths`            a value by path: what is guarded, how, and who may come there
`caller`           who a request comes from, by headers that are believed or by the application's own word
`admission`        the same by a verified token, and whether it reaches this path
`rates`            how often somebody may come; `counters` counts in this process
`body`             bodies as bytes: read up to a bound, given again
`incoming`         bodies as texts: which of them are guarded, and the body again with others in their places
`selectors`        where the texts of a JSON body stand that is in no API's format
`forms`            the same for forms, urlencoded and multipart, to the byte
`turns`            how many guards are asked at once, and for how long anybody waits for that
`refusals`         how a request is told no, in the shape of its own API
`reports`          further headers of replies: the id, what the guard said
`uploads`          the rest of a form that is longer than what is read at once
`departures`       callers who leave before the answer: what is done for them ends
`lifespan`         the application's end, at which what requests have had opened is closed
`glance`           replies to requests without a body: most pass at a glance
`reply`            replies: held until the guard lets them go; `screening`, `text_screen`: how they are read
`sockets`          websockets: every frame, both ways; `frame_streams`: frames that are pieces of longer texts
`dependencies`     the caller's context for frameworks that inject it
=================  =====================================================================================
"""

from .dependencies import highflame_context
from .middleware import HighflameMiddleware

__all__ = ["HighflameMiddleware", "highflame_context"]
