# Shows whether descriptor 7 arrived.
( cat <&7 ) 2>/dev/null || echo closed
