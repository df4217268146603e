"""`python3 -m unittest` in this folder."""

import unittest

import chrf


class Chrf(unittest.TestCase):
    def test_counts(self):
        # a b c | ab bc | abc  against  a b d | ab bd | abd
        self.assertEqual(chrf.statistics("ab c", "abd", 3), [3, 3, 2, 2, 2, 1, 1, 1, 0])

    def test_repeated_grams_count_once_for_each_partner(self):
        self.assertEqual(chrf.statistics("aaa", "aa", 1), [3, 2, 2])

    def test_score(self):
        counts = chrf.statistics("abc", "abd", 6)
        # Precision equals recall, so beta does not matter: (2/3 + 1/2 + 0) / 3.
        for beta in (1, 2):
            self.assertAlmostEqual(chrf.score(counts, beta), 100 * (2 / 3 + 1 / 2) / 3)
        # Precision 1, recall 1/2 for n = 1: F2 = 5 · 1 · 0.5 / (4 · 1 + 0.5).
        self.assertAlmostEqual(chrf.score(chrf.statistics("a", "ab", 1), 2), 100 * 2.5 / 4.5)
        self.assertEqual(chrf.score(chrf.statistics("春風", "春風", 6), 2), 100)
        self.assertEqual(chrf.score(chrf.statistics("", "春風", 6), 2), 0)
        self.assertEqual(chrf.score(chrf.statistics("xyz", "abc", 6), 2), 0)

    def test_a_corpus_is_counted_together(self):
        rows = [chrf.statistics("ab", "ab", 2), chrf.statistics("cd", "xy", 2)]
        # n = 1: 2 of 4, n = 2: 1 of 2.
        self.assertAlmostEqual(chrf.corpus(rows, 2), 50)

    def test_intervals(self):
        rows = [[float(value)] for value in range(100)]
        mean = lambda sums: sums[0] / 100
        low, high = chrf.interval(rows, mean, 1000, 1)
        # The standard error of the mean is 28.87 / 10.
        self.assertAlmostEqual(high - low, 2 * 1.96 * 2.887, delta=0.8)
        self.assertTrue(low < 49.5 < high)
        self.assertEqual(chrf.interval(rows, mean, 50, 7), chrf.interval(rows, mean, 50, 7))
        self.assertIsNone(chrf.interval([], mean, 50, 7))

    def test_the_histogram_holds_every_score(self):
        bands = chrf.histogram([0, 4.9, 5, 99, 100])
        self.assertEqual([band["texts"] for band in bands if band["texts"]], [2, 1, 2])
        self.assertEqual(bands[-1], {"chrf": 95, "texts": 2})


if __name__ == "__main__":
    unittest.main()
