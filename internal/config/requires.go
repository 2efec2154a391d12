package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// checkRequires refuses tools that need their own output, by themselves or by way
// of others: no plan could have them. Each circle is told once.
func checkRequires(fault func(path, problem, hint string), at string, tools map[string]*Override) {
	told := make(map[string]bool)
	for _, tool := range slices.Sorted(maps.Keys(tools)) {
		way := circle(tools, tool)
		if way == nil || told[tool] {
			continue
		}
		for _, t := range way {
			told[t] = true
		}
		i := slices.Index(tools[tool].Requires, way[1])
		where := join(at, tool) + ".requires[" + strconv.Itoa(i) + "]"
		if len(way) == 2 {
			fault(where, "is the tool itself: no plan can have it", "remove it")
		} else {
			fault(where, "is part of a circle: "+strings.Join(way, " requires ")+": no plan can have them", "remove one of these")
		}
	}
}

// circle returns the shortest way on which a tool requires itself, with it at both
// ends; nil if there is none.
func circle(tools map[string]*Override, tool string) []string {
	ways, seen := [][]string{{tool}}, make(map[string]bool)
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		last := tools[way[len(way)-1]]
		if last == nil {
			continue
		}
		for _, next := range last.Requires {
			longer := append(slices.Clip(way), next)
			if next == tool {
				return longer
			}
			if !seen[next] {
				seen[next] = true
				ways = append(ways, longer)
			}
		}
	}
	return nil
}
