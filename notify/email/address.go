package email

import (
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// address is one that was checked, in the forms in which it is written.
type address struct {
	// given is the address as the options have it: errors name it so.
	given string
	// header stands in the mail. Its domain is in ASCII.
	header *mail.Address
	// path stands in the envelope, with angle brackets and with the quotes that
	// a local part needs (RFC 5321 §4.1.2).
	path string
}

// parseAddress reads an address with or without a name. A domain with letters
// beyond ASCII is written in ASCII (RFC 5891), which every server takes.
func parseAddress(text string) (*address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil {
		return nil, errors.New(`not a mail address, as user@example.com or Name <user@example.com>; an unusual part before the @ needs quotes, as "a..b"@example.com`)
	}
	if strings.ContainsFunc(a.Address, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' }) {
		return nil, errors.New("address has control characters or angle brackets")
	}
	if strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("name has control characters")
	}

	given := a.Address
	at := strings.LastIndexByte(given, '@')
	local, domain := given[:at], given[at+1:]
	if !isASCII(domain) {
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return nil, fmt.Errorf("domain %q is not a host name: %w", given[at+1:], err)
		}
	}
	if strings.ContainsAny(domain, " \t") {
		return nil, fmt.Errorf("domain %q has spaces", domain)
	}
	if len(local) > 64 || len(domain) > 255 { // RFC 5321 §4.5.3.1
		return nil, errors.New("address is longer than mail allows (64 before the @, 255 after it)")
	}

	a.Address = local + "@" + domain
	return &address{given: given, header: a, path: (&mail.Address{Address: a.Address}).String()}, nil
}

// domain returns what stands behind the @, in ASCII.
func (a *address) domain() string {
	return a.header.Address[strings.LastIndexByte(a.header.Address, '@')+1:]
}

// utf8 reports whether the address cannot be written without SMTPUTF8.
func (a *address) utf8() bool { return !isASCII(a.path) }

// headers returns list for a header. Without utf8 those that need it are left out.
func headers(list []*address, utf8 bool) []*mail.Address {
	var out []*mail.Address
	for _, a := range list {
		if utf8 || !a.utf8() {
			out = append(out, a.header)
		}
	}
	return out
}

// unique returns list without addresses that stand in it before.
func unique(list ...*address) []*address {
	var out []*address
	for _, a := range list {
		if !slices.ContainsFunc(out, func(b *address) bool { return b.path == a.path }) {
			out = append(out, a)
		}
	}
	return out
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
