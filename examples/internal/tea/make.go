package tea

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

var (
	// finest first
	grades  = []string{"Whole leaf", "Broken", "Fannings", "Dust"}
	regions = []string{"Ridge", "Valley", "Coast"}
	names   = []string{
		"Amberfield", "Birchwood", "Cloudrest", "Deepmoor", "Eastgate", "Fernhill", "Greywater", "Highnook",
		"Ironbridge", "Juniper", "Kingsley", "Larkrise", "Mistvale", "Northbank", "Oakhurst", "Pinecrest",
	}
)

// made is what the site lists.
type made struct {
	estates []Estate
	lots    []Lot
	broken  map[int]string // the texts of cells that cannot be read, by lot
}

// generate makes n rows. The same arguments give the same rows.
func generate(seed uint64, n int) made {
	r := rand.New(rand.NewPCG(seed, 0x7ea))
	m := made{broken: map[int]string{}}

	altitudes := make([]float64, len(names))
	for i, name := range names {
		altitudes[i] = math.Round((300+1900*r.Float64())/10) * 10
		e := Estate{Code: fmt.Sprintf("E%02d", i+1), Name: name, Region: regions[i%len(regions)], Altitude: &altitudes[i]}
		if i == 5 {
			e.Altitude = nil // nobody measured it
		}
		m.estates = append(m.estates, e)
	}

	for i := range n {
		if i > 20 && r.Float64() < 0.02 { // listed again, some with a corrected price
			again := m.lots[i-1-r.IntN(20)]
			if r.IntN(4) == 0 {
				again.PriceEUR = cents(again.PriceEUR * 1.05)
			}
			m.lots = append(m.lots, again)
			continue
		}

		lot, score := draw(r, m.estates, altitudes)
		for math.Abs(score) < 0.2 { // the tasters of this auction are never torn
			lot, score = draw(r, m.estates, altitudes)
		}
		lot.ID = fmt.Sprintf("L%05d", i+1)

		switch p := r.Float64(); {
		case p < 0.010:
			lot.Moisture = nil
		case p < 0.020:
			lot.Aroma = nil
		case p < 0.025: // grams for kilograms
			lot.WeightKG *= 1000
		case p < 0.030: // the decimal point is lost
			*lot.Moisture = math.Round(*lot.Moisture * 100)
		case p < 0.033:
			m.broken[i] = []string{"heavy", "12,5 kg", "two chests"}[r.IntN(3)]
		}

		m.lots = append(m.lots, lot)
	}

	return m
}

// draw makes a lot, and how well the tasters like it: above 0 they accept it.
func draw(r *rand.Rand, estates []Estate, altitudes []float64) (Lot, float64) {
	e, g := r.IntN(len(estates)), r.IntN(len(grades))
	moisture := tenths(min(12, max(1.5, 5.5+1.8*r.NormFloat64())))
	aroma := tenths(1 + 9*r.Float64())
	day := time.Date(2025, 1, 1+r.IntN(365), 0, 0, 0, 0, time.UTC)
	season := math.Cos(2 * math.Pi * float64(day.YearDay()-100) / 365) // best in April
	dry := (moisture - 5) / 1.8
	score := 1.5*(aroma-5.5)/2.6 + 0.8*(altitudes[e]-1250)/550 - 0.5*dry*dry + 0.7*season +
		[]float64{0.9, 0.4, -0.1, -0.7}[g] + 0.3

	lot := Lot{
		Estate: estates[e].Code, Grade: grades[g], Harvested: day,
		WeightKG: tenths(math.Exp(4.5 + 0.6*r.NormFloat64())), Moisture: &moisture, Aroma: &aroma, Accepted: score > 0,
	}
	lot.Chests = int(math.Ceil(lot.WeightKG / 40))
	lot.PriceEUR = cents(3 + 0.8*aroma + altitudes[e]/1000 + float64(len(grades)-g) + 2*r.Float64())
	return lot, score
}

func tenths(f float64) float64 { return math.Round(f*10) / 10 }
func cents(f float64) float64  { return math.Round(f*100) / 100 }
