package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Generate makes up n lots of tea, a fifth of them for the test, in the form
// that examples/features gives its own: numbers of mean 0 and deviation 1, a
// one-hot grade, and a flag where a number was missing. Whether a buyer takes a
// lot depends on them smoothly, but not linearly: a model that only weighs them
// stays well below one that can combine them. The same seed makes the same
// data. It panics if n is below 10.
func Generate(n int, seed uint64) *Data {
	if n < 10 {
		panic(fmt.Sprintf("dataset: Generate(%d): at least 10 rows", n))
	}

	d := &Data{
		Features: []string{"moisture", "altitude", "age", "price", "weight", "moisture_missing", "grade=whole", "grade=broken", "grade=dust"},
		Classes:  []string{"no", "yes"},
	}

	r := rand.New(rand.NewPCG(seed, 0x7ea))
	for i := range n {
		moisture, altitude, age, price, weight := r.NormFloat64(), r.NormFloat64(), r.NormFloat64(), r.NormFloat64(), r.NormFloat64()
		missing := 0.0
		if r.IntN(50) == 0 {
			moisture, missing = 0, 1
		}

		grade := r.IntN(3)
		// Dry and fresh is good, high up and cheap is good, dust is not.
		score := 1.1*math.Exp(-moisture*moisture) - 0.8*age + 0.7*altitude - 0.9*math.Tanh(price) + 0.2*weight - 0.3*missing +
			[]float64{0.6, 0, -0.7}[grade] - 0.6
		row := []float32{float32(moisture), float32(altitude), float32(age), float32(price), float32(weight), float32(missing), 0, 0, 0}
		row[6+grade] = 1

		class := int32(0)
		if score > 0 {
			class = 1
		}

		t := &d.Train
		if i%5 == 4 {
			t = &d.Test
		}
		t.X, t.Y = append(t.X, row), append(t.Y, class)
	}

	return d
}
