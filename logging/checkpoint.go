package logging

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The checkpoint says how much of which segment was received. It is not
// synced: what a power cut takes of it costs repeats, not events, and the
// removal of a segment is what ends it.

// checkpointLine has a fixed width, so that one short write replaces it.
const checkpointLine = "%s %020d\n"

// sent returns the offset in segment seq up to which the receiver has it.
func (q queue) sent(seq string) int64 {
	data, err := os.ReadFile(q.checkpoint())
	if err != nil {
		return 0
	}
	got, offset, ok := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	if !ok || got != seq {
		return 0
	}
	n, err := strconv.ParseInt(offset, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// setSent writes the checkpoint.
func (q queue) setSent(seq string, offset int64) error {
	f, err := os.OpenFile(q.checkpoint(), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, checkpointLine, seq, offset); err != nil {
		_ = f.Close() // the write error says more
		return err
	}
	return f.Close()
}
