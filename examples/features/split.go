package main

import (
	"crypto/sha256"
	"encoding/binary"
)

// split puts samples aside for the test. On which side a lot falls depends on
// its name and the seed alone: a lot that is new tomorrow moves no other, and
// one that is listed again stays where it was. The share is met on average.
func split(samples []sample, share float64, seed uint64) (train, test []sample) {
	for _, s := range samples {
		if side(s.id, seed) < share {
			test = append(test, s)
		} else {
			train = append(train, s)
		}
	}
	return train, test
}

// side returns a number from 0 to 1 that is the same for a name and a seed.
func side(id string, seed uint64) float64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(id), seed))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
