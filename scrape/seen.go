package scrape

import "math/bits"

// seen is a set of pages, by the first 8 bytes of a hash of each. It takes 9 to
// 14 bytes a page: as it has parts that grow one at a time, there is never a
// second copy of the whole. The zero value is empty.
type seen struct {
	parts [64]seenPart
	n     int
}

// seenPart is a table with open addressing; 0 is an empty slot.
type seenPart struct {
	slots []uint64
	n     int
}

// add adds a page, and reports whether it is new.
func (s *seen) add(id uint64) bool {
	id = max(id, 1)
	part := &s.parts[id>>58]
	if part.n >= len(part.slots)*7/8 {
		part.grow()
	}

	slot := part.find(id)
	if *slot == id {
		return false
	}
	*slot = id
	part.n++
	s.n++
	return true
}

// has reports whether a page is in the set.
func (s *seen) has(id uint64) bool {
	id = max(id, 1)
	part := &s.parts[id>>58]
	return len(part.slots) > 0 && *part.find(id) == id
}

// find returns the slot of a page, or the empty one where it belongs.
func (p *seenPart) find(id uint64) *uint64 {
	at, _ := bits.Mul64(id<<6, uint64(len(p.slots)))
	for ; ; at++ {
		if at == uint64(len(p.slots)) {
			at = 0
		}
		if slot := &p.slots[at]; *slot == id || *slot == 0 {
			return slot
		}
	}
}

// grow makes room for half as many pages again.
func (p *seenPart) grow() {
	old := p.slots
	p.slots = make([]uint64, max(8, len(old)*3/2))
	for _, id := range old {
		if id != 0 {
			*p.find(id) = id
		}
	}
}
