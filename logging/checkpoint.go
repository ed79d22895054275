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
	if got, offset := q.checkpointed(); got == seq {
		return offset
	}
	return 0
}

// checkpointed returns what the checkpoint says.
func (q queue) checkpointed() (seq string, offset int64) {
	data, err := os.ReadFile(q.checkpoint())
	if err != nil {
		return "", 0
	}
	seq, text, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	offset, err = strconv.ParseInt(text, 10, 64)
	if err != nil || offset < 0 {
		return "", 0
	}
	return seq, offset
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
