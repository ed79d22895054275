package notify

import "encoding/json"

// ReadJournal returns the records of a journal as JSON, and the bytes that were
// stepped over.
func ReadJournal(data []byte) (records []string, skipped int) {
	skipped = readJournal(data, func(r *record) {
		text, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		records = append(records, string(text))
	})
	return records, skipped
}

// AppendRecord appends a record that was read to a journal.
func AppendRecord(data []byte, text string) []byte {
	r := new(record)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		panic(err)
	}
	data, err := appendFrame(data, r)
	if err != nil {
		panic(err)
	}
	return data
}

// Replay returns how many messages a journal says wait.
func Replay(data []byte) int {
	p := newReplay()
	readJournal(data, p.take)
	return len(p.waiting())
}

// Journal returns where a hub's journal is, how much of it is written, and how
// much of that a loss of power keeps.
func Journal(h *Hub) (path string, size, forced int64) {
	j := h.keeper.out.journal()
	j.commit.Lock()
	defer j.commit.Unlock()
	return j.path, j.size, j.forced
}
