"""Room motion: flow store -> motion statistics (stage motion), then the clips worth training on (stage screen)."""
