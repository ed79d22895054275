package options

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"time"
)

// Standard says how to read a type of the standard library that has a text and
// no method which reads it: *time.Location and net.IPNet.
type Standard struct {
	// Want says in words what is read, Word in one word.
	Want, Word string
	// Parse reads a value. Its error does not repeat the text.
	Parse func(text string) (reflect.Value, error)
	// Text is what Parse reads as an equal value: the value itself, or "" where
	// it has no such text.
	Text func(v reflect.Value) string
	// Copy returns a value that shares nothing with v which may change.
	Copy func(v reflect.Value) reflect.Value
}

// StandardOf returns how to read a type, and nil for a type that is none of
// these.
func StandardOf(t reflect.Type) *Standard {
	switch {
	case t == reflect.TypeFor[*time.Location]():
		return &Standard{
			Want: "a time zone, such as Europe/Berlin, UTC or Local", Word: "zone", Parse: parseLocation, Text: locationText,
			Copy: func(v reflect.Value) reflect.Value { return v }, // it never changes
		}
	case t.Name() == "IPNet" && t.PkgPath() == "net":
		return &Standard{
			Want:  "a network, such as 10.0.0.0/8 or fd00::/8",
			Word:  "network",
			Parse: func(text string) (reflect.Value, error) { return parseNetwork(t, text) },
			Text:  networkText,
			Copy:  copyNetwork,
		}
	}
	return nil
}

// parseLocation finds a zone in the time zone database.
func parseLocation(text string) (reflect.Value, error) {
	if text == "" {
		return reflect.Value{}, errors.New("a time zone has a name")
	}
	zone, err := time.LoadLocation(text)
	if err == nil {
		return reflect.ValueOf(zone), nil
	}

	err = errors.New("no time zone has this name")
	if _, missing := time.LoadLocation("Europe/London"); missing != nil {
		err = errors.New(`this machine has no time zones: install tzdata, or import _ "time/tzdata"`)
	}
	return reflect.Value{}, err
}

// locationText is a zone's name. One that time.FixedZone made has none that
// leads back to it.
func locationText(v reflect.Value) string {
	zone := v.Interface().(*time.Location)
	if zone == nil {
		return ""
	}
	again, err := time.LoadLocation(zone.String())
	if err != nil {
		return ""
	}

	for _, year := range []int{1970, 2000, 2030} {
		for _, month := range []time.Month{time.January, time.July} {
			at := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
			name, offset := at.In(zone).Zone()
			if sameName, same := at.In(again).Zone(); name != sameName || offset != same {
				return ""
			}
		}
	}
	return zone.String()
}

// parseNetwork reads what net.ParseCIDR does. It sets the two fields of a
// net.IPNet by reflection, as package net would make every program larger that
// loads settings.
func parseNetwork(t reflect.Type, text string) (reflect.Value, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return reflect.Value{}, errors.New("want an address, a slash and the number of bits")
	}
	prefix = prefix.Masked()
	ip := prefix.Addr().AsSlice()

	v := reflect.New(t).Elem()
	v.FieldByName("IP").SetBytes(ip)
	v.FieldByName("Mask").SetBytes(mask(prefix.Bits(), len(ip)))
	return v, nil
}

// mask returns size bytes of which the first bits are ones.
func mask(bits, size int) []byte {
	m := make([]byte, size)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// networkText writes a network in the form 10.0.0.0/8. One with an odd mask, or
// with an address that is not the network's first, has no such text.
func networkText(v reflect.Value) string {
	addr, ok := netip.AddrFromSlice(v.FieldByName("IP").Bytes())
	have := v.FieldByName("Mask").Bytes()
	if !ok {
		return ""
	}
	if addr.Unmap().Is4() && len(have) == 16 && bytes.Equal(have[:12], mask(96, 12)) {
		have = have[12:]
	}
	if len(have) == 4 {
		addr = addr.Unmap()
	}

	for bits := range addr.BitLen() + 1 {
		prefix := netip.PrefixFrom(addr, bits)
		if bytes.Equal(have, mask(bits, addr.BitLen()/8)) && prefix == prefix.Masked() {
			return prefix.String()
		}
	}
	return ""
}

func copyNetwork(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	for _, name := range []string{"IP", "Mask"} {
		out.FieldByName(name).SetBytes(bytes.Clone(v.FieldByName(name).Bytes()))
	}
	return out
}
