"""An engine that does the bulk of the work in few steps for each packet, and leaves the rest to aioquic.

Of the 15 microseconds that aioquic takes to send a packet, or to receive one, two are spent on cryptography and the
kernel. The others go into generality: any frame, any packet, any state. But nearly all packets of a busy connection are
alike. `FastCore` is our `Core` with a short way for those; whatever is not certainly one of them takes the long way,
through stock code, packet by packet. So there is one protocol engine, and this room changes what it costs, not what it
does: both see the same state, kept in aioquic's own objects, and either may go on where the other has left off.

The connection has to be settled for either short way: handshake confirmed, nothing closed, the path validated.

**Sending** (`core`, `sealing`). A *run* is a row of full packets, each with one STREAM frame of one stream: same
header but for the number, same frame but for the offset. It is cut from the stream's buffer and sealed with one AEAD
call for each packet, and the header masks of all in one. Taken is the first stream that may fill two packets, as far as
the credit of stream and connection go; congestion window and pacer say how many. Before a run goes one packet with
what else is owed, and where nothing can fill a run there are no others (`small_packets`): acknowledgements, credit,
pings, streams with less to send, and ends. They are the very packets that stock code would build. It does so where
anything rarer is owed: a reset, a stop, keys to renew, IDs, probes. If nothing is owed, nobody builds anything, which
is so for most wakes of a receiver.

**Who has something to send** (`service_queue`). A stream is looked at while it may have something to say, and is woken
by what could give it that. Idle and blocked streams cost nothing, however many there are.

**What was sent** (`ring`, `sent_log`, `recovery`). Bytes wait for their acknowledgement in a ring, where none is moved.
A run is one entry of the log of sent packets, and is taken apart when parts of it are acknowledged or lost. To
stock code the log looks like its own, packet by packet, so that losses, probes and round trips are its affair;
acknowledged runs leave in one step, with the effect on congestion control that their packets would have had.

**Receiving** (`opening`, `frames`, `receiving`). A packet takes the short way if all of this holds, checked in order:

1. It came by the active path, to the connection ID that this path uses (a dialer may be called by any of its own).
2. It is sealed in the present key phase, has a number above all others received, and no reserved bit set. The header is
   guessed: if the seal fits the guess, the guess is right. Otherwise it is unmasked, as ever.
3. It holds ACK, MAX_DATA and MAX_STREAM_DATA frames, one STREAM frame, or the former and then the latter, and nothing
   else: well-formed, on bidirectional streams we have, the bytes within the credit of stream and connection.

Each frame is checked before it changes anything, and every length before it is used, for what a peer has sealed is
still what a stranger may have written. The first packet that fails goes to stock code as if nothing had been tried,
and the next one begins anew. (If it is a STREAM frame that fails, the acknowledgements and credit before it have been
applied; stock code finds nothing new in them.) So breaches of the protocol are found, and punished, by stock code
alone.

Of a stream's bytes, those in order become one event for the whole row (the header of the next such packet is the last
one plus a constant, so it is compared as one number); others, and ends, go through aioquic's own stream. Numbers of
the packets are recorded row by row, for acknowledgements and against repetition.

`tests/quic/fast` holds the proof: the same disturbed and the same malicious exchanges into both engines, step by step.
"""

from connet_trio.quic.fast.core import FastCore, PacketCount

__all__ = ["FastCore", "PacketCount"]
