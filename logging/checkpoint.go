package logging

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The checkpoint says how much of which segment was received. It is not
// synced: what a power cut takes of it costs repeats, not events, and the
// removal of a segment is what ends it.

// checkpointLine has a fixed width, so that one short write replaces it. The
// checksum is that of what precedes it: an offset that is wrong would skip what
// was never sent.
func checkpointLine(seq string, offset int64) string {
	text := fmt.Sprintf("%s %020d", seq, offset)
	return fmt.Sprintf("%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

var errDamaged = errors.New("damaged; what it stood for is sent again")

// sent returns the offset in segment seq up to which the receiver has it.
func (q queue) sent(seq string) int64 {
	if got, offset, _ := q.checkpointed(); got == seq {
		return offset
	}
	return 0
}

// checkpointed returns what the checkpoint says: nothing if there is none, or
// one whose first write did not come to pass.
func (q queue) checkpointed() (seq string, offset int64, err error) {
	data, err := os.ReadFile(q.checkpoint())
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0:
		return "", 0, nil
	case err != nil:
		return "", 0, err
	}
	seq, rest, _ := strings.Cut(string(data), " ")
	digits, _, _ := strings.Cut(rest, " ")
	offset, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || offset < 0 || string(data) != checkpointLine(seq, offset) {
		return "", 0, errDamaged
	}
	return seq, offset, nil
}

// setSent writes the checkpoint.
func (q queue) setSent(seq string, offset int64) error {
	f, err := os.OpenFile(q.checkpoint(), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(checkpointLine(seq, offset)); err != nil {
		_ = f.Close() // the write error says more
		return err
	}
	return f.Close()
}
