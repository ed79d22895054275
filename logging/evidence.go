package logging

const (
	// maxTrust is how many requests in a row may be refused, of a batch that is
	// taken apart, until another event is tried.
	maxTrust = 64
	// maxGrant bounds that for a long row of poison: each proof in a row gives
	// twice as many, so that the proofs do not use up the events behind it.
	maxGrant = 512
)

// evidence is what is known of a receiver: whether it takes anything, and what
// follows for events that it refused.
type evidence struct {
	takes    int  // requests of which something was taken
	trust    int  // refused requests until something must be taken
	grant    int  // of them, that the next proof gives
	stumbled bool // the last events were refused, and nothing was taken since
	refusing bool // nothing was taken since something was refused
	probes   int  // since refusing
}

// took notes that the receiver took something.
func (e *evidence) took() {
	e.takes++
	e.trust, e.stumbled, e.refusing, e.probes = maxTrust, false, false, 0
}

// probed notes that it took an event that was tried for proof.
func (e *evidence) probed() {
	e.grant = min(max(maxTrust, 2*e.grant), maxGrant)
	e.trust = e.grant
}

// spend reports whether a refused request may be taken apart without a proof,
// and counts it.
func (e *evidence) spend() bool {
	if e.trust == 0 {
		return false
	}
	e.trust--
	return true
}

// refusal returns what is known of an event that was refused now; old is what
// was known of it before, or nil.
func (e *evidence) refusal(why rejected, old *refusal) *refusal {
	now := &refusal{reason: why.reason, takes: e.takes, firm: !e.refusing}
	// Refused, then another taken, now refused again: that is proof enough.
	if old != nil && !old.firm && old.takes >= 0 && e.takes > old.takes {
		now.takes, now.firm = old.takes, true
	}
	if why.unsent {
		now.takes, now.firm = -1, true
	}
	return now
}
