package chat

import (
	"errors"
	"slices"
	"sort"
)

// sortKey is what a value is sorted by.
func (r *renderer) sortKey(v, path any, caseSensitive bool) any {
	if path != nil {
		v = r.path(v, path)
	}
	if s, ok := v.(string); ok && !caseSensitive {
		return lower(s)
	}
	return v
}

func (r *renderer) sort(of string, list []any, key func(any) any, reverse bool) []any {
	type keyed struct{ key, value any }
	all := make([]keyed, len(list))
	for i, v := range list {
		all[i] = keyed{key(v), v}
		r.spend(20 * (1 + r.cost(all[i].key))) // as often as it may be compared
	}
	ordered := true
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i].key, all[j].key
		if reverse {
			a, b = b, a
		}
		is, ok := less(a, b)
		ordered = ordered && ok
		return is
	})
	if !ordered {
		r.fail("%s of values that have no order", of)
	}
	out := make([]any, len(all))
	for i := range all {
		out[i] = all[i].value
	}
	return out
}

// sortedKeys are the keys of a dictionary in order.
func sortedKeys(keys []any) ([]any, error) {
	keys = slices.Clone(keys)
	ordered := true
	sort.SliceStable(keys, func(i, j int) bool {
		is, ok := less(keys[i], keys[j])
		ordered = ordered && ok
		return is
	})
	if !ordered {
		return nil, errors.New("keys that have no order")
	}
	return keys, nil
}
